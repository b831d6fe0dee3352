//! Types and traits generated from `wit/`. Nobody outside this crate sees them.
//!
//! Only documents and outgoing calls wait for something, so only they are asynchronous: a plain
//! import costs no future. Exports are asynchronous, so that a guest can be made to yield.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "callgate:processor/processor",
    imports: {
        "callgate:processor/documents": async | trappable,
        "callgate:processor/http": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    additional_derives: [PartialEq],
});

//! Flat XML, hardened: one root, children with text, nothing else.
//!
//! `quick-xml` cuts the text into tokens; this file decides which tokens may stand where. What
//! two parsers could read differently (a document type, an entity, a processing instruction, a
//! comment, an attribute, a repeated name, a third level) is refused, because the fields read
//! here are the ones a signature was made over.

use std::fmt;

use quick_xml::Reader;
use quick_xml::events::{BytesDecl, BytesRef, BytesStart, Event};

/// The children of the root in document order: distinct names, values as delivered.
///
/// `Debug` shows names only.
#[derive(Clone, PartialEq, Eq)]
pub struct Flat {
    fields: Vec<(String, String)>,
}

impl Flat {
    /// Reads a document whose root has the name `root`.
    ///
    /// Text and CDATA count alike and are not trimmed; the five predefined entities and numeric
    /// references are resolved once; line ends stay as they came. White space between elements
    /// is skipped. At most [`FIELDS_MAX`] children with names of at most [`NAME_BYTES_MAX`]
    /// characters out of `A-Z a-z 0-9 _ . -`.
    ///
    /// # Errors
    /// [`XmlError`] for every other document.
    pub fn parse(bytes: &[u8], root: &str) -> Result<Self, XmlError> {
        let text = std::str::from_utf8(bytes).map_err(|_| XmlError::Character)?;
        if !text.chars().all(is_xml_character) {
            return Err(XmlError::Character);
        }
        let mut reader = Reader::from_str(text);
        let mut walk = Walk { root, place: Place::Start, fields: Vec::new() };
        loop {
            let event = reader.read_event().map_err(|_| XmlError::Syntax)?;
            if matches!(event, Event::Eof) {
                return walk.finish();
            }
            walk.take(event)?;
        }
    }

    /// The value of a child, empty or not; `None` where there is no such child.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Names and values in document order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Flat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

/// Why a text is no flat XML.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// Bytes that are no UTF-8, or a character that XML 1.0 forbids.
    #[error("bytes are not UTF-8 text of characters that XML allows")]
    Character,
    /// The tokens themselves are not well formed.
    #[error("text is not well-formed XML")]
    Syntax,
    /// A document type, processing instruction or comment, or a declaration that is not the
    /// first thing or names another charset.
    #[error("document type, processing instruction, comment or foreign declaration")]
    Forbidden,
    /// A reference that is neither predefined nor the number of an allowed character.
    #[error("reference to an entity that is not predefined")]
    Entity,
    /// An element with attributes, a name outside the alphabet, or another root.
    #[error("element has attributes, a strange name, or is not the expected root")]
    Element,
    /// Text beside the children, or something before or after the root.
    #[error("text stands where only elements may stand")]
    Stray,
    /// An element inside a child.
    #[error("elements are nested deeper than two levels")]
    Depth,
    /// Two children with one name.
    #[error("an element stands there more than once")]
    Repeated,
    /// More than [`FIELDS_MAX`] children.
    #[error("more than {FIELDS_MAX} elements")]
    TooMany,
    /// The text ends before the root does.
    #[error("text ends before the root element does")]
    Cut,
}

enum Place {
    /// Before the root, nothing seen.
    Start,
    /// Before the root, after the declaration or white space.
    Head,
    /// Between the children.
    Root,
    /// Inside a child.
    Leaf { name: String, value: String },
    /// After the root.
    Tail,
}

struct Walk<'a> {
    root: &'a str,
    place: Place,
    fields: Vec<(String, String)>,
}

impl Walk<'_> {
    fn take(&mut self, event: Event<'_>) -> Result<(), XmlError> {
        match event {
            Event::Start(start) => self.open(&start),
            Event::Empty(start) => self.open(&start).and_then(|()| self.close()),
            Event::End(_) => self.close(),
            Event::Text(text) => self.text(&text.into_inner()),
            Event::CData(text) => self.leaf().map(|value| value.push_str(&text.into_inner())),
            Event::GeneralRef(reference) => {
                let character = resolve(&reference)?;
                self.leaf().map(|value| value.push(character))
            }
            Event::Decl(declaration) => self.declare(&declaration),
            Event::PI(_) | Event::DocType(_) | Event::Comment(_) => Err(XmlError::Forbidden),
            Event::Eof => Ok(()),
        }
    }

    fn open(&mut self, start: &BytesStart<'_>) -> Result<(), XmlError> {
        let name = start.name();
        let name = name.as_ref();
        if !start.attributes_raw().trim().is_empty() || !is_name(name) {
            return Err(XmlError::Element);
        }
        match self.place {
            Place::Start | Place::Head if name == self.root => self.place = Place::Root,
            Place::Start | Place::Head => return Err(XmlError::Element),
            Place::Root => {
                if self.fields.iter().any(|(known, _)| known == name) {
                    return Err(XmlError::Repeated);
                }
                if self.fields.len() >= FIELDS_MAX {
                    return Err(XmlError::TooMany);
                }
                self.place = Place::Leaf { name: name.to_owned(), value: String::new() };
            }
            Place::Leaf { .. } => return Err(XmlError::Depth),
            Place::Tail => return Err(XmlError::Stray),
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), XmlError> {
        match std::mem::replace(&mut self.place, Place::Root) {
            Place::Leaf { name, value } => self.fields.push((name, value)),
            Place::Root => self.place = Place::Tail,
            Place::Start | Place::Head | Place::Tail => return Err(XmlError::Syntax),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), XmlError> {
        if let Place::Leaf { value, .. } = &mut self.place {
            value.push_str(text);
            return Ok(());
        }
        if !text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
            return Err(XmlError::Stray);
        }
        if matches!(self.place, Place::Start) {
            self.place = Place::Head;
        }
        Ok(())
    }

    fn leaf(&mut self) -> Result<&mut String, XmlError> {
        match &mut self.place {
            Place::Leaf { value, .. } => Ok(value),
            Place::Start | Place::Head | Place::Root | Place::Tail => Err(XmlError::Stray),
        }
    }

    fn declare(&mut self, declaration: &BytesDecl<'_>) -> Result<(), XmlError> {
        let is_utf8 = match declaration.encoding() {
            None => true,
            Some(Ok(charset)) => charset.eq_ignore_ascii_case("utf-8"),
            Some(Err(_)) => false,
        };
        if !matches!(self.place, Place::Start) || !is_utf8 {
            return Err(XmlError::Forbidden);
        }
        self.place = Place::Head;
        Ok(())
    }

    fn finish(self) -> Result<Flat, XmlError> {
        match self.place {
            Place::Tail => Ok(Flat { fields: self.fields }),
            Place::Start | Place::Head | Place::Root | Place::Leaf { .. } => Err(XmlError::Cut),
        }
    }
}

fn resolve(reference: &BytesRef<'_>) -> Result<char, XmlError> {
    if reference.is_char_ref() {
        let character = reference.resolve_char_ref().map_err(|_| XmlError::Entity)?;
        return character.filter(|c| is_xml_character(*c)).ok_or(XmlError::Entity);
    }
    match reference.borrow().into_inner().as_ref() {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "apos" => Ok('\''),
        "quot" => Ok('"'),
        _ => Err(XmlError::Entity),
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// The production `Char` of XML 1.0, fifth edition.
fn is_xml_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// The most children: gateways send about thirty.
pub const FIELDS_MAX: usize = 100;

/// The longest name of a child.
pub const NAME_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{FIELDS_MAX, Flat, NAME_BYTES_MAX, XmlError};

    fn check(text: &str, expected: Result<&[(&str, &str)], XmlError>) {
        let read = Flat::parse(text.as_bytes(), "xml");
        let read = read.as_ref().map(|flat| flat.iter().collect::<Vec<_>>());
        assert_eq!(read.map_err(|error| *error), expected.map(<[_]>::to_vec), "{text}");
    }

    fn children(count: usize) -> String {
        let children: String = (0..count).map(|at| format!("<f{at}>1</f{at}>")).collect();
        format!("<xml>{children}</xml>")
    }

    #[test]
    fn text_and_cdata_are_read_alike_and_in_order() {
        check("<xml><b>1</b>\n <a><![CDATA[1]]></a>\r\n</xml>", Ok(&[("b", "1"), ("a", "1")]));
        check("<xml><a>x<![CDATA[<y>]]>z</a></xml>", Ok(&[("a", "x<y>z")]));
        check("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<xml/>\n", Ok(&[]));
        check("<xml><a/><b></b></xml>", Ok(&[("a", ""), ("b", "")]));
    }

    #[test]
    fn values_stay_as_delivered() {
        check("<xml><a> 1 </a></xml>", Ok(&[("a", " 1 ")]));
        check("<xml><a><![CDATA[ \r\n&amp; ]]></a></xml>", Ok(&[("a", " \r\n&amp; ")]));
        check("<xml><a>\t订单\r\n</a></xml>", Ok(&[("a", "\t订单\r\n")]));
    }

    #[test]
    fn only_predefined_and_numeric_references_are_resolved() {
        check("<xml><a>&lt;&amp;&gt;&quot;&apos;</a></xml>", Ok(&[("a", "<&>\"'")]));
        check("<xml><a>&#65;&#x4eba;</a></xml>", Ok(&[("a", "A人")]));
        check("<xml><a>&amp;lt;</a></xml>", Ok(&[("a", "&lt;")]));
        for text in ["&nbsp;", "&xxe;", "&#0;", "&#xD800;", "&#x110000;", "&#;", "&#x1;"] {
            check(&format!("<xml><a>{text}</a></xml>"), Err(XmlError::Entity));
        }
        check("<xml><a>a & b</a></xml>", Err(XmlError::Syntax));
    }

    #[test]
    fn document_types_and_entities_are_refused() {
        let external = "<!DOCTYPE xml [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>";
        let laughs = "<!DOCTYPE xml [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;\">]>";
        for head in [external, laughs, "<!DOCTYPE xml>", "<!DOCTYPE xml SYSTEM \"http://h/\">"] {
            check(&format!("{head}<xml><a>&e;</a></xml>"), Err(XmlError::Forbidden));
            check(&format!("<?xml version=\"1.0\"?>{head}<xml/>"), Err(XmlError::Forbidden));
            check(&format!("<xml>{head}<a>1</a></xml>"), Err(XmlError::Forbidden));
        }
    }

    #[test]
    fn instructions_comments_and_foreign_declarations_are_refused() {
        for text in [
            "<?go now?><xml/>",
            "<xml><?go now?></xml>",
            "<xml><!-- a --></xml>",
            "<xml><a>1<!-- 2 -->3</a></xml>",
            " <?xml version=\"1.0\"?><xml/>",
            "<?xml version=\"1.0\"?><?xml version=\"1.0\"?><xml/>",
            "<?xml version=\"1.0\" encoding=\"GBK\"?><xml/>",
            "<xml/><?xml version=\"1.0\"?>",
        ] {
            check(text, Err(XmlError::Forbidden));
        }
    }

    #[test]
    fn what_is_not_flat_is_refused() {
        check("<xml><a><b>1</b></a></xml>", Err(XmlError::Depth));
        check("<xml><a>1</a><a>1</a></xml>", Err(XmlError::Repeated));
        check("<xml><a>1</a><a/></xml>", Err(XmlError::Repeated));
        check("<xml><a b=\"c\">1</a></xml>", Err(XmlError::Element));
        check("<xml xmlns=\"urn:a\"><a>1</a></xml>", Err(XmlError::Element));
        check("<x:xml/>", Err(XmlError::Element));
        check("<root><a>1</a></root>", Err(XmlError::Element));
        check("<xml><人>1</人></xml>", Err(XmlError::Element));
        check("<xml>text<a>1</a></xml>", Err(XmlError::Stray));
        check("<xml>&amp;</xml>", Err(XmlError::Stray));
        check("<xml><![CDATA[ ]]></xml>", Err(XmlError::Stray));
    }

    #[test]
    fn what_does_not_begin_or_end_with_the_root_is_refused() {
        check("", Err(XmlError::Cut));
        check("<xml>", Err(XmlError::Cut));
        check("<xml><a>1", Err(XmlError::Cut));
        check("<xml/>x", Err(XmlError::Stray));
        check("x<xml/>", Err(XmlError::Stray));
        check("<xml/><xml/>", Err(XmlError::Stray));
        check("<xml></xml></xml>", Err(XmlError::Syntax));
        check("<xml><a>1</b></xml>", Err(XmlError::Syntax));
        check("<xml><a><![CDATA[1</a></xml>", Err(XmlError::Syntax));
        check("<xml>\u{0}</xml>", Err(XmlError::Character));
        assert_eq!(Flat::parse(b"<xml><a>\xff</a></xml>", "xml"), Err(XmlError::Character));
    }

    #[test]
    fn limits_are_kept() {
        assert!(Flat::parse(children(FIELDS_MAX).as_bytes(), "xml").is_ok());
        check(&children(FIELDS_MAX + 1), Err(XmlError::TooMany));
        let named = |length: usize| format!("<xml><{0}>1</{0}></xml>", "n".repeat(length));
        assert!(Flat::parse(named(NAME_BYTES_MAX).as_bytes(), "xml").is_ok());
        check(&named(NAME_BYTES_MAX + 1), Err(XmlError::Element));
    }

    #[test]
    fn debug_shows_no_values() {
        let flat = Flat::parse(b"<xml><openid>me</openid></xml>", "xml").unwrap();
        assert_eq!(format!("{flat:?}"), "[\"openid\"]");
        assert_eq!((flat.get("openid"), flat.get("sign")), (Some("me"), None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..256)
        ) {
            let _ = Flat::parse(&bytes, "xml");
        }

        #[test]
        fn any_shuffle_of_markup_is_read_without_panic(
            parts in proptest::collection::vec(
                prop::sample::select(vec![
                    "<xml>", "</xml>", "<a>", "</a>", "<a/>", "<![CDATA[", "]]>", "&", "&amp;",
                    "&#", ";", "<?xml", "?>", "<!", "<!--", "-->", "<", ">", "/", "=", "\"", "x",
                ]),
                0..24,
            )
        ) {
            let _ = Flat::parse(parts.concat().as_bytes(), "xml");
        }

        #[test]
        fn what_is_escaped_reads_back(value in "[ -~\\t\\r\\n一-龥]{0,40}") {
            let escaped = value.replace('&', "&amp;").replace('<', "&lt;");
            let text = format!("<xml><a>{escaped}</a></xml>");
            let flat = Flat::parse(text.as_bytes(), "xml").unwrap();
            prop_assert_eq!(flat.get("a"), Some(value.as_str()));
        }
    }
}

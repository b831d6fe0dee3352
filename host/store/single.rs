//! A statement over a list of rows, written for one row.
//!
//! SQLite works a list off as a subquery: an insert or an update goes through a table in between
//! and a copy of every page that it changes, in case that it has to be undone alone. With a row's
//! values in their places it finds what it needs by key. PostgreSQL is asked for all rows at once.

/// The text for one row, whose values are called `?1`, `?2` and so on. A text that is built
/// otherwise than the usual ones keeps its list, of one row.
pub(crate) fn single(columns: &str, text: &str) -> String {
    let names: Vec<&str> = columns.split(',').map(str::trim).collect();
    let places: Vec<String> = (1..=names.len()).map(|place| format!("?{place}")).collect();
    let all = places.join(", ");
    let rewritten = without_list(text).and_then(|text| {
        let text = in_place(&text.replace("v.*", &all), &names)?;
        // What still names the list needs it.
        (!text.contains(" from v")).then_some(text)
    });
    rewritten.unwrap_or_else(|| format!("with v({columns}) as (values ({all})) {text}"))
}

/// The four ways in which a list is used: joined, asked about, inserted, updated from.
fn without_list(text: &str) -> Option<String> {
    if let Some((select, join)) = text.split_once(" from v join ") {
        let (table, on) = join.split_once(" on ")?;
        let end = level(on);
        let (on, rest) = on.split_at_checked(end)?;
        let joined_twice = on.contains(" join ");
        let on = conditions(on);
        return (!joined_twice).then(|| format!("{select} from {table} where {on}{rest}"));
    }
    let (head, tail) = text.split_once(" from v where ")?;
    if head.starts_with("select ") {
        return fills_up(tail)?.is_empty().then(|| head.to_owned());
    }
    if let Some((insert, list)) = head.split_once(" select ") {
        let rest = fills_up(tail)?;
        let rest = match rest.strip_prefix(" order by ") {
            Some(order) => order.find(" on conflict").and_then(|place| order.get(place..))?,
            None => rest,
        };
        return Some(format!("{insert} values ({list}){rest}"));
    }
    Some(format!("{head} where {tail}"))
}

/// What follows the condition that leaves out rows which only fill the list up.
fn fills_up(tail: &str) -> Option<&str> {
    let (name, rest) = tail.split_once(" is not null")?;
    (!name.contains(' ')).then_some(rest)
}

/// A join's condition and, where there is one, that of the whole, as one.
fn conditions(on: &str) -> String {
    let word = " where ";
    let outside = |(place, _): &(usize, &str)| {
        on.get(..*place)
            .is_some_and(|before| before.matches('(').count() == before.matches(')').count())
    };
    match on.match_indices(word).find(outside) {
        Some((place, _)) => {
            let (join, rest) = on.split_at(place);
            format!("{join} and {}", rest.trim_start_matches(word))
        }
        None => on.to_owned(),
    }
}

/// Where the brackets end that the text begins inside of.
fn level(text: &str) -> usize {
    let mut open = 0u32;
    for (place, letter) in text.char_indices() {
        match letter {
            '(' => open = open.saturating_add(1),
            ')' if open == 0 => return place,
            ')' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    text.len()
}

/// Puts the values in their places.
fn in_place(text: &str, names: &[&str]) -> Option<String> {
    let mut written = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.find("v.") {
        let (before, found) = rest.split_at_checked(place)?;
        let (_, found) = found.split_at_checked("v.".len())?;
        written.push_str(before);
        let inside = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if before.ends_with(inside) {
            written.push_str("v.");
            rest = found;
            continue;
        }
        let end = found.find(|letter| !inside(letter)).unwrap_or(found.len());
        let (name, after) = found.split_at_checked(end)?;
        let number = names.iter().position(|known| *known == name)?.saturating_add(1);
        written.push('?');
        written.push_str(&number.to_string());
        rest = after;
    }
    written.push_str(rest);
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::single;

    #[test]
    fn an_insert_names_its_values() {
        let text = "insert into a (x, y, z) select v.*, 'ready' from v where v.x is not null \
                    on conflict (x) do nothing";
        let one = "insert into a (x, y, z) values (?1, ?2, 'ready') on conflict (x) do nothing";
        assert_eq!(single("x, y", text), one);
        let text = "insert into a (x, y) select v.y, v.x from v where v.x is not null order by \
                    1, 2 on conflict (x) do nothing";
        let one = "insert into a (x, y) values (?2, ?1) on conflict (x) do nothing";
        assert_eq!(single("x, y", text), one);
    }

    #[test]
    fn an_update_finds_its_row_by_key() {
        let text = "update a set z = v.y from v where a.x = v.x and a.rev.x = 1 returning a.x";
        let one = "update a set z = ?2 where a.x = ?1 and a.rev.x = 1 returning a.x";
        assert_eq!(single("x, y", text), one);
    }

    #[test]
    fn a_join_becomes_a_condition() {
        let text = "select t.x from v join a t on t.x = v.x where t.z <> 'none' order by t.x";
        let one = "select t.x from a t where t.x = ?1 and t.z <> 'none' order by t.x";
        assert_eq!(single("x", text), one);
        let text = "select v.x as x, t.y from v join a t on (t.x = (select b.y from b where b.x = v.x)) \
                    where t.z = 1";
        let one = "select ?1 as x, t.y from a t where (t.x = (select b.y from b where b.x = ?1)) \
                   and t.z = 1";
        assert_eq!(single("x", text), one);
        let text = "select * from (select t.x from v join a t on (t.x = v.x)) d where d.x > 0";
        let one = "select * from (select t.x from a t where (t.x = ?1)) d where d.x > 0";
        assert_eq!(single("x", text), one);
    }

    #[test]
    fn a_question_is_asked_about_its_values() {
        let text = "select v.x as x, (select max(a.z) from a where a.x = v.y) as z from v \
                    where v.x is not null";
        let one = "select ?1 as x, (select max(a.z) from a where a.x = ?2) as z";
        assert_eq!(single("x, y", text), one);
    }

    #[test]
    fn what_is_built_otherwise_keeps_its_list() {
        for text in [
            "select v.x from v where v.x > 1 and v.x is not null",
            "delete from a where x in (select v.x from v)",
            "select t.x from v join a t on t.x = v.x join b on b.x = t.x",
            "update a set z = v.unknown from v where a.x = v.x",
        ] {
            assert_eq!(single("x", text), format!("with v(x) as (values (?1)) {text}"));
        }
    }
}

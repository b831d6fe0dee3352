//! Orders that were registered before anybody wished to ask about them, or by a host that did not
//! know how: looked through page by page in the order of their registration, from where the last
//! page ended. Those that are too old to be asked about are never read, however many they are.

use callgate_core::time::Timestamp;

use super::{Inquiring, InquiryKey, NewInquiry, open};
use crate::batch::{Cell, Statement, fetch};
use crate::error::{Fault, StoreError};
use crate::sql::{Connection, Pool, Row, query};
use crate::store::Store;

/// A look at the next page of a business's orders.
#[derive(Debug, Clone)]
pub struct SweepInquiries {
    /// Whose orders.
    pub business: String,
    /// The channels that are to be asked, and when first after the registration, in milliseconds.
    pub channels: Vec<(String, u32)>,
    /// Orders that were registered before this moment are left in peace.
    pub since: Timestamp,
    /// A look that ended before this moment begins anew.
    pub anew_before: Timestamp,
    /// Orders of one page, those of other businesses among them. What was registered within one
    /// millisecond is never divided.
    pub limit: i64,
}

/// A page that was looked at.
#[derive(Debug)]
pub(crate) struct Page {
    business: String,
    wish: String,
    /// Where the page began, as it stood in the table; none where nothing stood there.
    from: Option<Place>,
    to: String,
    finished: bool,
    pub(crate) rows: Vec<NewInquiry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    wish: String,
    after: String,
    finished_at: Option<i64>,
}

impl Store {
    /// Looks at one page of a business's orders and writes down what is to be asked; tells whether
    /// there are more pages. Nothing is done where the last look is young.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn sweep_inquiries(
        &self,
        sweep: &SweepInquiries,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut names: Vec<&str> = sweep.channels.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        // An older host knows a place by the number of an order, a newer one by a time: each begins
        // anew where it finds the other's.
        let wish = format!("by time: {}", names.join(","));
        let from = place(self.readers(), &sweep.business).await?;
        let after = match &from {
            Some(place) if place.wish == wish => match place.finished_at {
                Some(at) if at >= sweep.anew_before.as_ms() => return Ok(false),
                Some(_) => String::new(),
                None => place.after.clone(),
            },
            Some(_) | None => String::new(),
        };
        let place = after.parse().map_or(sweep.since, Timestamp::from_ms).max(sweep.since);
        let Looked { orders, next } = look(self.readers(), sweep, place).await?;
        let finished = next.is_none();
        let to = next.map_or(after, |next| next.as_ms().to_string());
        let rows = questions(self.readers(), sweep, &orders, now).await?;
        let business = sweep.business.clone();
        let page = Page { business, wish, from, to, finished, rows };
        self.count(Inquiring::Page(page, now)).await?;
        Ok(!finished)
    }
}

/// Writes a page down, unless another host did.
pub(super) async fn write(
    connection: &mut Connection,
    page: &Page,
    now: Timestamp,
) -> Result<usize, Fault> {
    let finished: Cell = page.finished.then_some(now.as_ms()).into();
    let (business, wish): (Cell, Cell) = (page.business.as_str().into(), page.wish.as_str().into());
    let to: Cell = page.to.as_str().into();
    let won = match &page.from {
        None => fetch(connection, FIRST, &[[business, wish, to, finished]]).await?,
        Some(from) => {
            let row = [
                business,
                wish,
                to,
                finished,
                from.wish.as_str().into(),
                from.after.as_str().into(),
                from.finished_at.unwrap_or(NEVER).into(),
            ];
            fetch(connection, NEXT, &[row]).await?
        }
    };
    if won.is_empty() { Ok(0) } else { open::new(connection, &page.rows, now).await }
}

async fn place(pool: &Pool, business: &str) -> Result<Option<Place>, StoreError> {
    let sql = "select wish, after_key, finished_at_ms from inquiry_sweeps where business = $1";
    let row = query(sql).bind(business).fetch_optional(pool).await?;
    row.map(|row| {
        Ok(Place {
            wish: row.try_get("wish")?,
            after: row.try_get("after_key")?,
            finished_at: row.try_get("finished_at_ms")?,
        })
    })
    .transpose()
}

/// An order of a page.
struct Order {
    key: String,
    channel: Option<String>,
    created_at: Timestamp,
}

/// A page, and where the next one begins; none where there are no more.
struct Looked {
    orders: Vec<Order>,
    next: Option<Timestamp>,
}

/// Reads the orders of the page that begins at a moment.
async fn look(pool: &Pool, sweep: &SweepInquiries, from: Timestamp) -> Result<Looked, StoreError> {
    let page = query(PAGE).bind(from.as_ms()).bind(sweep.limit);
    let mut rows = read(&page.fetch_all(pool).await?)?;
    let full = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= sweep.limit;
    let last = rows.last().map(|(_, order)| order.created_at).filter(|_| full);
    if let Some(last) = last {
        // The page may end between orders of one moment: all of them belong to it.
        rows.retain(|(_, order)| order.created_at != last);
        rows.extend(read(&query(MOMENT).bind(last.as_ms()).fetch_all(pool).await?)?);
    }
    let orders = rows.into_iter().filter(|(business, _)| *business == sweep.business);
    let orders = orders.map(|(_, order)| order).collect();
    Ok(Looked { orders, next: last.map(|last| last.plus_ms(1)) })
}

/// Orders, each with its business.
fn read(rows: &[Row]) -> Result<Vec<(String, Order)>, StoreError> {
    rows.iter()
        .map(|row| {
            let order = Order {
                key: row.try_get("key")?,
                channel: row.try_get("channel")?,
                created_at: Timestamp::from_ms(row.try_get("created_at_ms")?),
            };
            Ok((row.try_get("business")?, order))
        })
        .collect()
}

// Of all businesses: one that has few orders among many would go through all of them for a page.
const PAGE: &str = "select business, key, channel, created_at_ms from documents \
    where collection = 'orders' and created_at_ms >= $1 order by created_at_ms limit $2";

const MOMENT: &str = "select business, key, channel, created_at_ms from documents \
    where collection = 'orders' and created_at_ms = $1";

/// What is to be asked about the orders of a page: of those that never moved.
async fn questions(
    pool: &Pool,
    sweep: &SweepInquiries,
    orders: &[Order],
    now: Timestamp,
) -> Result<Vec<NewInquiry>, StoreError> {
    let business = &sweep.business;
    let rows: Vec<[Cell; 2]> =
        orders.iter().map(|order| [business.as_str().into(), order.key.as_str().into()]).collect();
    let mut found = Vec::new();
    let mut connection = pool.acquire().await?;
    let mut silent = fetch(&mut connection, SILENT, &rows).await?;
    silent.extend(fetch(&mut connection, SILENT_OTHER, &rows).await?);
    for row in silent {
        let (order_no, number): (String, String) =
            (row.try_get("order_no")?, row.try_get("alias")?);
        let Some(order) = orders.iter().find(|order| order.key == order_no) else { continue };
        let may = |name: &String| order.channel.as_ref().is_none_or(|only| only == name);
        for (channel, first_ms) in sweep.channels.iter().filter(|(name, _)| may(name)) {
            let key = InquiryKey {
                business: business.clone(),
                order_no: order_no.clone(),
                channel: channel.clone(),
                number: number.clone(),
                refund_no: None,
            };
            let due_at = order.created_at.plus_ms(i64::from(*first_ms)).max(now);
            found.push(NewInquiry { key, due_at });
        }
    }
    Ok(found)
}

/// The names of orders that never moved, by which of them are meant. That an effect is not none is
/// said beside what it is, because an index holds those alone.
macro_rules! silent {
    ($names:literal) => {
        concat!(
            "select t.order_no, t.alias from v join order_aliases t on t.business = v.business ",
            $names,
            " where not exists (select 1 from history h where h.business = v.business \
              and h.order_no = v.order_no and h.effect <> 'none' and h.effect = 'moved')"
        )
    };
}

/// By their own numbers.
pub(crate) const SILENT: Statement = Statement {
    columns: "business, order_no",
    text: silent!("and t.alias = v.order_no and t.order_no = v.order_no"),
    suffix: "",
};

/// By their other names.
pub(crate) const SILENT_OTHER: Statement = Statement {
    columns: "business, order_no",
    text: silent!("and t.order_no = v.order_no and t.alias <> t.order_no"),
    suffix: "",
};

const FIRST: Statement = Statement {
    columns: "business, wish, after_key, finished_ms",
    text: "insert into inquiry_sweeps (business, wish, after_key, finished_at_ms) \
           select v.business, v.wish, v.after_key, v.finished_ms from v \
           where v.business is not null on conflict (business) do nothing returning business",
    suffix: "",
};

const NEXT: Statement = Statement {
    columns: "v_business, v_wish, v_after, v_finished, v_from_wish, v_from_after, v_from_finished",
    text: "update inquiry_sweeps set wish = v.v_wish, after_key = v.v_after, \
           finished_at_ms = v.v_finished from v where inquiry_sweeps.business = v.v_business \
           and inquiry_sweeps.wish = v.v_from_wish and inquiry_sweeps.after_key = v.v_from_after \
           and coalesce(inquiry_sweeps.finished_at_ms, -1) = v.v_from_finished returning business",
    suffix: "",
};

/// In place of a moment that was not.
const NEVER: i64 = -1;

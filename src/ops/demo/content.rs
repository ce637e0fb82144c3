//! The table's rows held against the orders that were produced, field by field, through their Avro encoding. Owns the way back from columns to orders.

use std::hash::Hasher as _;

use arrow::array::{Array as _, ArrayRef, AsArray as _, ListArray, RecordBatch, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMillisecondType,
};
use futures::TryStreamExt as _;

use crate::error::Kind;
use crate::ops::demo::broker::SEED;
use crate::ops::demo::orders::{self, Address, Item, Order};
use crate::ops::exit::Failure;
use crate::ops::progress::Progress;
use crate::ops::stored_file;
use crate::ops::verify::{Subject, live_files};
use crate::ops::waiting::Patience;

/// What the comparison found.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// Rows that were compared.
    pub(crate) rows: u64,
    /// Rows that are not the order that was produced at their coordinates.
    pub(crate) different: u64,
    /// Over all rows, whatever their sequence and their files.
    pub(crate) hash: u64,
}

/// Compares every row of the table with the order that `topic_partitions` and its coordinates say it is.
pub(crate) async fn compare(
    subject: &Subject,
    topic_partitions: i32,
    patience: &Patience,
) -> Result<Content, Failure> {
    let files = live_files(subject, patience).await?;
    let progress = Progress::over("comparing values", files.iter().map(|(_, size)| size).sum());
    let mut content = Content::default();
    for (path, size) in files {
        let unreadable = |error: parquet::errors::ParquetError| {
            Failure::new(Kind::Corrupt, error).context(format!("cannot read {path}"))
        };
        let builder = stored_file::open(&subject.objects, &path)
            .await
            .map_err(unreadable)?;
        let mut stream = builder.build().map_err(unreadable)?;
        while let Some(batch) = stream.try_next().await.map_err(unreadable)? {
            let rows = Rows::of(&batch).ok_or_else(|| {
                Failure::said(
                    Kind::Corrupt,
                    format!("{path} lacks a column of the orders, or it has another type"),
                )
            })?;
            for row in 0..batch.num_rows() {
                content.take(&rows, row, topic_partitions);
            }
        }
        progress.advance(size);
    }
    progress.done();
    Ok(content)
}

impl Content {
    fn take(&mut self, rows: &Rows, row: usize, topic_partitions: i32) {
        self.rows += 1;
        let number = u64::try_from(
            rows.offset.value(row) * i64::from(topic_partitions)
                + i64::from(rows.partition.value(row)),
        )
        .unwrap_or(u64::MAX);
        let (mut found, mut produced) = (Vec::with_capacity(256), Vec::with_capacity(256));
        rows.order(row).unwrap_or_default().encode(&mut found);
        orders::order(SEED, number).encode(&mut produced);
        self.different += u64::from(found != produced);
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write_u64(number);
        hasher.write(&found);
        self.hash = self.hash.wrapping_add(hasher.finish());
    }
}

type Longs = arrow::array::PrimitiveArray<Int64Type>;
type Ints = arrow::array::PrimitiveArray<Int32Type>;
type Doubles = arrow::array::PrimitiveArray<Float64Type>;
type Times = arrow::array::PrimitiveArray<TimestampMillisecondType>;
type Texts = arrow::array::StringArray;

/// The columns of one batch.
struct Rows {
    partition: Ints,
    offset: Longs,
    texts: [Texts; 5],
    customer_id: Longs,
    amount: arrow::array::PrimitiveArray<Decimal128Type>,
    doubles: [Doubles; 2],
    times: [Times; 2],
    quantity: Ints,
    is_gift: arrow::array::BooleanArray,
    address: Addresses,
    items: ListArray,
    tags: ListArray,
}

struct Addresses {
    texts: [Texts; 3],
    doubles: [Doubles; 2],
}

impl Rows {
    fn of(batch: &RecordBatch) -> Option<Rows> {
        let column = |name: &str| batch.column_by_name(name);
        let address = column("address")?.as_struct_opt()?;
        let of_address = |name: &str| address.column_by_name(name);
        Some(Rows {
            partition: ints(column("_kafka_partition")?)?,
            offset: longs(column("_kafka_offset")?)?,
            texts: [
                texts(column("order_id")?)?,
                texts(column("status")?)?,
                texts(column("currency")?)?,
                texts(column("note")?)?,
                texts(column("_kafka_topic")?)?,
            ],
            customer_id: longs(column("customer_id")?)?,
            amount: cast(column("amount")?, &DataType::Decimal128(18, 4))
                .ok()?
                .as_primitive_opt::<Decimal128Type>()?
                .clone(),
            doubles: [doubles(column("discount")?)?, doubles(column("weight")?)?],
            times: [times(column("created_at")?)?, times(column("updated_at")?)?],
            quantity: ints(column("quantity")?)?,
            is_gift: column("is_gift")?.as_boolean_opt()?.clone(),
            address: Addresses {
                texts: [
                    texts(of_address("street")?)?,
                    texts(of_address("city")?)?,
                    texts(of_address("zip")?)?,
                ],
                doubles: [doubles(of_address("lat")?)?, doubles(of_address("lon")?)?],
            },
            items: column("items")?.as_list_opt::<i32>()?.clone(),
            tags: column("tags")?.as_list_opt::<i32>()?.clone(),
        })
    }

    fn order(&self, row: usize) -> Option<Order> {
        let [order_id, status, currency, note, _] = &self.texts;
        let [discount, weight] = &self.doubles;
        let [created_at, updated_at] = &self.times;
        let ([street, city, zip], [lat, lon]) = (&self.address.texts, &self.address.doubles);
        let text = |of: &Texts| of.is_valid(row).then(|| of.value(row).to_owned());
        Some(Order {
            order_id: text(order_id)?,
            customer_id: self.customer_id.value(row),
            status: text(status)?,
            currency: text(currency)?,
            amount: self.amount.value(row),
            discount: discount.is_valid(row).then(|| discount.value(row)),
            created_at_ms: created_at.value(row),
            updated_at_ms: updated_at.is_valid(row).then(|| updated_at.value(row)),
            quantity: self.quantity.value(row),
            weight: weight.value(row),
            is_gift: self.is_gift.value(row),
            note: text(note),
            address: Address {
                street: text(street)?,
                city: text(city)?,
                zip: text(zip)?,
                lat: lat.value(row),
                lon: lon.value(row),
            },
            items: items(&self.items.value(row))?,
            tags: texts(&self.tags.value(row))?
                .iter()
                .flatten()
                .map(str::to_owned)
                .collect(),
        })
    }
}

fn items(of: &ArrayRef) -> Option<Vec<Item>> {
    let of: &StructArray = of.as_struct_opt()?;
    let (skus, quantities, prices) = (
        texts(of.column_by_name("sku")?)?,
        ints(of.column_by_name("qty")?)?,
        doubles(of.column_by_name("price")?)?,
    );
    Some(
        (0..of.len())
            .map(|row| Item {
                sku: skus.value(row).to_owned(),
                qty: quantities.value(row),
                price: prices.value(row),
            })
            .collect(),
    )
}

fn texts(column: &ArrayRef) -> Option<Texts> {
    cast(column, &DataType::Utf8)
        .ok()?
        .as_string_opt::<i32>()
        .cloned()
}

fn longs(column: &ArrayRef) -> Option<Longs> {
    column.as_primitive_opt::<Int64Type>().cloned()
}

fn ints(column: &ArrayRef) -> Option<Ints> {
    column.as_primitive_opt::<Int32Type>().cloned()
}

fn doubles(column: &ArrayRef) -> Option<Doubles> {
    column.as_primitive_opt::<Float64Type>().cloned()
}

fn times(column: &ArrayRef) -> Option<Times> {
    let DataType::Timestamp(_, zone) = column.data_type() else {
        return None;
    };
    let millis = cast(
        column,
        &DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
    )
    .ok()?;
    millis
        .as_primitive_opt::<TimestampMillisecondType>()
        .cloned()
}

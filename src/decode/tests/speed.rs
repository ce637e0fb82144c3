//! Decodes generated orders and says how fast: a few under test, so that it never rots; many with LAKEWARD_SPEED_RECORDS and an optimised build.

use std::time::Duration;

use apache_avro::types::Value as Avro;
use serde_json::{Value as Json, json};

use super::support::*;
use crate::config::ddl::{Column, Type};
use crate::config::settings::{JsonSchemaSource, UnknownFields, Value};
use crate::decode::Decoder;

const ORDERS: &str = include_str!("orders.avsc");
const DISTINCT: usize = 10_000;

fn pick(random: &mut Random, words: &[&'static str]) -> &'static str {
    words[random.below(words.len() as u64) as usize]
}

fn in_one_of(random: &mut Random, n: u64) -> bool {
    random.below(n) == 0
}

/// An order as JSON: the decimal as a string, times as long micros, absent fields left out.
fn order(random: &mut Random, index: u64) -> Json {
    let uuid = uuid::Uuid::from_u64_pair(random.below(u64::MAX), random.below(u64::MAX));
    let amount = random.below(100_000_000);
    let created = 1_700_000_000_000_000 + index * 3_000;
    let items = (0..1 + random.below(3)).map(|_| {
        let price = random.below(100_000) as f64 / 100.0;
        json!({"sku": format!("SKU-{:05}", random.below(50_000)), "qty": 1 + random.below(5), "price": price})
    });
    let items: Vec<_> = items.collect();
    let tags: Vec<_> = (0..random.below(3))
        .map(|_| pick(random, &["new", "vip", "promo", "fragile", "b2b", "return"]))
        .collect();
    let mut order = json!({
        "order_id": uuid.to_string(), "customer_id": random.below(200_000),
        "status": pick(random, &["created", "paid", "shipped", "delivered", "cancelled"]),
        "currency": pick(random, &["EUR", "USD", "GBP", "CHF"]),
        "amount": format!("{}.{:04}", amount / 10_000, amount % 10_000),
    });
    let members = order.as_object_mut().unwrap();
    if in_one_of(random, 3) {
        members.insert("discount".into(), json!(random.below(1000) as f64 / 1000.0));
    }
    members.insert("created_at".into(), json!(created));
    if in_one_of(random, 2) {
        members.insert("updated_at".into(), json!(created + 60_000_000));
    }
    members.insert("quantity".into(), json!(1 + random.below(20)));
    members.insert("weight".into(), json!(random.below(50_000) as f64 / 1000.0));
    members.insert("is_gift".into(), json!(in_one_of(random, 10)));
    if in_one_of(random, 4) {
        members.insert(
            "note".into(),
            json!(format!("please leave at door {}", random.below(100))),
        );
    }
    let city = pick(
        random,
        &[
            "Berlin", "Paris", "London", "Madrid", "Rome", "Vienna", "Zurich", "Oslo",
        ],
    );
    let (lat, lon) = (
        random.below(90_000) as f64 / 1000.0,
        random.below(180_000) as f64 / 1000.0,
    );
    let street = format!("{} Long Street", random.below(500));
    members.insert(
        "address".into(),
        json!({"street": street, "city": city, "zip": format!("{:05}", random.below(100_000)), "lat": lat, "lon": lon}),
    );
    members.insert("items".into(), json!(items));
    members.insert("tags".into(), json!(tags));
    order
}

/// The order's text with its fields in the order of the columns, as serialisers of classes write them.
fn text(value: &Json, kind: &Type) -> String {
    let columns = match kind {
        Type::Struct(columns) => columns,
        Type::Array(item) => {
            let items = value
                .as_array()
                .unwrap()
                .iter()
                .map(|value| text(value, item));
            return format!("[{}]", items.collect::<Vec<_>>().join(","));
        }
        _ => return value.to_string(),
    };
    let members = columns
        .iter()
        .filter_map(|column| Some((column, value.get(&column.name)?)));
    let members =
        members.map(|(column, value)| format!("\"{}\":{}", column.name, text(value, &column.kind)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// The same order as Avro bytes.
fn avro(order: &Json, schema: &apache_avro::Schema) -> Vec<u8> {
    let text = |value: &Json| Avro::String(value.as_str().unwrap().to_owned());
    let optional = |value: Option<Avro>| {
        Avro::Union(
            u32::from(value.is_some()),
            Box::new(value.unwrap_or(Avro::Null)),
        )
    };
    let millis = |value: &Json| Avro::TimestampMillis(value.as_i64().unwrap() / 1000);
    let double = |value: &Json| Avro::Double(value.as_f64().unwrap());
    let int = |value: &Json| Avro::Int(i32::try_from(value.as_i64().unwrap()).unwrap());
    let list = |value: &Json, item: &dyn Fn(&Json) -> Avro| {
        Avro::Array(value.as_array().unwrap().iter().map(item).collect())
    };
    let record = |fields: Vec<(&str, Avro)>| {
        Avro::Record(
            fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    };
    let address = &order["address"];
    let item = |item: &Json| {
        let fields = vec![
            ("sku", text(&item["sku"])),
            ("qty", int(&item["qty"])),
            ("price", double(&item["price"])),
        ];
        Avro::Record(
            fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    };
    let unscaled: i64 = order["amount"]
        .as_str()
        .unwrap()
        .replace('.', "")
        .parse()
        .unwrap();
    let value = record(vec![
        ("order_id", text(&order["order_id"])),
        (
            "customer_id",
            Avro::Long(order["customer_id"].as_i64().unwrap()),
        ),
        ("status", text(&order["status"])),
        ("currency", text(&order["currency"])),
        (
            "amount",
            Avro::Decimal(unscaled.to_be_bytes().to_vec().into()),
        ),
        ("discount", optional(order.get("discount").map(double))),
        ("created_at", millis(&order["created_at"])),
        ("updated_at", optional(order.get("updated_at").map(millis))),
        ("quantity", int(&order["quantity"])),
        ("weight", double(&order["weight"])),
        (
            "is_gift",
            Avro::Boolean(order["is_gift"].as_bool().unwrap()),
        ),
        ("note", optional(order.get("note").map(text))),
        (
            "address",
            record(vec![
                ("street", text(&address["street"])),
                ("city", text(&address["city"])),
                ("zip", text(&address["zip"])),
                ("lat", double(&address["lat"])),
                ("lon", double(&address["lon"])),
            ]),
        ),
        ("items", list(&order["items"], &item)),
        ("tags", list(&order["tags"], &text)),
    ]);
    apache_avro::to_avro_datum(schema, value).unwrap()
}

fn columns() -> Vec<Column> {
    let column = |name: &str, kind| Column {
        name: name.to_owned(),
        kind,
    };
    let address = ["street", "city", "zip"]
        .map(|name| column(name, Type::String))
        .into_iter();
    let address = address
        .chain(["lat", "lon"].map(|name| column(name, Type::Double)))
        .collect();
    let item = vec![
        column("sku", Type::String),
        column("qty", Type::Integer),
        column("price", Type::Double),
    ];
    vec![
        column("order_id", Type::String),
        column("customer_id", Type::Long),
        column("status", Type::String),
        column("currency", Type::String),
        column("amount", Type::Decimal(18, 4)),
        column("discount", Type::Double),
        column("created_at", Type::Timestamp),
        column("updated_at", Type::Timestamp),
        column("quantity", Type::Integer),
        column("weight", Type::Double),
        column("is_gift", Type::Boolean),
        column("note", Type::String),
        column("address", Type::Struct(address)),
        column("items", Type::Array(Box::new(Type::Struct(item)))),
        column("tags", Type::Array(Box::new(Type::String))),
    ]
}

/// The processor time of this thread, which does not grow while others have the core.
fn busy() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// Decodes the values over and over, emptying the decoder as the pipeline does.
fn measure(name: &str, decoder: &mut Decoder, values: &[Vec<u8>], bad_every: Option<usize>) {
    let total = std::env::var("LAKEWARD_SPEED_RECORDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2 * DISTINCT);
    let is_bad = |index: usize| bad_every.is_some_and(|every| index.is_multiple_of(every));
    let value = |(index, value): (usize, &Vec<u8>)| {
        if is_bad(index) {
            value[..value.len() - 1].to_vec()
        } else {
            value.clone()
        }
    };
    let values: Vec<Vec<u8>> = values.iter().enumerate().map(value).collect();
    let batch = records(values.iter().map(|value| Some(value.as_slice())));
    let bytes: usize = values.iter().map(Vec::len).sum();
    let (mut rows, mut rejects, mut decoding, mut taking) = (0, 0, Duration::ZERO, Duration::ZERO);
    for _ in 0..total / values.len() {
        let start = busy();
        let appended = decoder.append(&place(), &batch, 0);
        let between = busy();
        decoding += between - start;
        assert_eq!(appended.counts.polled() as usize, batch.len(), "DEC-1");
        rejects += appended.rejects.len();
        if decoder.rows() > 60_000 || total <= 2 * DISTINCT {
            rows += decoder.take().unwrap().num_rows();
            taking += busy() - between;
        }
    }
    rows += decoder.take().unwrap().num_rows();
    assert_eq!(rows + rejects, total, "DEC-1");
    let seconds = (decoding + taking).as_secs_f64().max(1e-9);
    println!(
        "{name}: {rows} rows, {rejects} rejects, {} bytes a record, {:.3} M records/s with take ({:.3} M/s without)",
        bytes / values.len(),
        total as f64 / seconds / 1e6,
        total as f64 / decoding.as_secs_f64().max(1e-9) / 1e6,
    );
}

fn orders() -> Vec<Json> {
    let mut random = Random::new(42);
    (0..DISTINCT as u64)
        .map(|index| order(&mut random, index))
        .collect()
}

#[test]
fn avro_orders_are_decoded_at_speed() {
    let schema = apache_avro::Schema::parse_str(ORDERS).unwrap();
    let values: Vec<_> = orders().iter().map(|order| avro(order, &schema)).collect();
    let mut decoder = avro_decoder(ORDERS);
    measure("avro", &mut decoder, &values, None);
    measure("avro, 1 % truncated", &mut decoder, &values, Some(100));
}

const PROTO: &str = r#"syntax = "proto3"; package shop;
enum Status { created = 0; paid = 1; shipped = 2; delivered = 3; cancelled = 4; }
message Address { string street = 1; string city = 2; string zip = 3; double lat = 4; double lon = 5; }
message Item { string sku = 1; int32 qty = 2; double price = 3; }
message Order {
  string order_id = 1; int64 customer_id = 2; Status status = 3; string currency = 4; int64 amount = 5; optional double discount = 6; int64 created_at = 7;
  optional int64 updated_at = 8; int32 quantity = 9; double weight = 10; bool is_gift = 11; optional string note = 12; Address address = 13;
  repeated Item items = 14; repeated string tags = 15;
}"#;

/// The order as a Protobuf message; the amount is its unscaled number.
fn message(order: &Json, kind: &protox::prost_reflect::MessageDescriptor) -> Vec<u8> {
    use protox::prost_reflect::prost::Message as _;
    fill(order, kind).encode_to_vec()
}

fn fill(
    value: &Json,
    kind: &protox::prost_reflect::MessageDescriptor,
) -> protox::prost_reflect::DynamicMessage {
    use protox::prost_reflect::{DynamicMessage, Kind, Value};
    fn one(value: &Json, kind: &Kind) -> Value {
        match kind {
            Kind::Enum(symbols) => {
                let symbol = symbols.get_value_by_name(value.as_str().unwrap());
                Value::EnumNumber(symbol.unwrap().number())
            }
            Kind::Message(inner) => Value::Message(fill(value, inner)),
            Kind::Int64 => match value.as_str() {
                Some(text) => Value::I64(text.replace('.', "").parse().unwrap()),
                None => Value::I64(value.as_i64().unwrap()),
            },
            Kind::Int32 => Value::I32(value.as_i64().unwrap() as i32),
            Kind::Double => Value::F64(value.as_f64().unwrap()),
            Kind::Bool => Value::Bool(value.as_bool().unwrap()),
            _ => Value::String(value.as_str().unwrap().to_owned()),
        }
    }
    let mut message = DynamicMessage::new(kind.clone());
    for field in kind.fields() {
        let Some(value) = value.get(field.name()) else {
            continue;
        };
        let value = match value.as_array() {
            Some(items) => Value::List(items.iter().map(|item| one(item, &field.kind())).collect()),
            None => one(value, &field.kind()),
        };
        message.set_field(&field, value);
    }
    message
}

#[test]
fn protobuf_orders_are_decoded_at_speed() {
    let schema = crate::decode::protobuf::Schema::parse(PROTO, Vec::new()).unwrap();
    let kind = schema.message(Some("shop.Order")).unwrap();
    let values: Vec<_> = orders().iter().map(|order| message(order, &kind)).collect();
    let (_directory, table) = with_file(PROTO, |file| Value::ProtobufFile {
        file,
        message: "shop.Order".to_owned(),
    });
    let mut decoder = decoder(&table, None);
    measure("protobuf", &mut decoder, &values, None);
    measure("protobuf, 1 % truncated", &mut decoder, &values, Some(100));
}

#[test]
fn json_orders_are_decoded_at_speed() {
    let kind = Type::Struct(columns());
    let values: Vec<_> = orders()
        .iter()
        .map(|order| text(order, &kind).into_bytes())
        .collect();
    let schema = JsonSchemaSource::Ddl(columns());
    let mut decoder = decoder(
        &table(Value::Json {
            schema,
            unknown_fields: UnknownFields::Reject,
        }),
        None,
    );
    let start = busy();
    for text in &values {
        serde_json::from_slice::<serde::de::IgnoredAny>(text).unwrap();
    }
    let rate = DISTINCT as f64 / (busy() - start).as_secs_f64() / 1e6;
    println!("for comparison, serde_json skips {rate:.3} M records/s");
    measure("json", &mut decoder, &values, None);
    measure("json, 1 % truncated", &mut decoder, &values, Some(100));
    let values: Vec<_> = orders()
        .iter()
        .map(|order| order.to_string().into_bytes())
        .collect();
    measure("json, fields in another order", &mut decoder, &values, None);
}

/// Both formats of an order make the same row.
#[test]
fn avro_and_json_agree() {
    let schema = apache_avro::Schema::parse_str(ORDERS).unwrap();
    let orders = orders();
    let (mut from_avro, schema_source) = (avro_decoder(ORDERS), JsonSchemaSource::Ddl(columns()));
    let mut from_json = decoder(
        &table(Value::Json {
            schema: schema_source,
            unknown_fields: UnknownFields::Reject,
        }),
        None,
    );
    for order in &orders[..500] {
        append(&mut from_avro, &[&avro(order, &schema)]);
        append(&mut from_json, &[order.to_string().as_bytes()]);
    }
    let expected = rows(&mut from_json);
    assert_eq!((rows(&mut from_avro), expected.len()), (expected, 500));
}

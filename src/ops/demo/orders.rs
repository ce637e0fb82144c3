//! Realistic orders as Avro: order number n of a seed is always the same, whoever asks and in whichever sequence. Owns values and their encoding; knows
//! no broker.

/// The writer schema that the encoder below follows, field by field.
pub(crate) const SCHEMA: &str = include_str!("orders.avsc");

const STATUSES: [&str; 5] = ["created", "paid", "packed", "shipped", "returned"];
const CURRENCIES: [&str; 4] = ["EUR", "USD", "GBP", "CHF"];
const CITIES: [&str; 8] = [
    "Zürich", "Berlin", "Paris", "London", "Madrid", "Kraków", "Oslo", "Lisboa",
];
const TAGS: [&str; 6] = [
    "new-customer",
    "express",
    "fragile",
    "b2b",
    "gift-wrap",
    "回頭客",
];
/// 2026-01-01T00:00:00Z, in milliseconds.
const FIRST_MS: i64 = 1_767_225_600_000;

/// One order.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Order {
    pub(crate) order_id: String,
    pub(crate) customer_id: i64,
    pub(crate) status: String,
    pub(crate) currency: String,
    /// In ten-thousandths.
    pub(crate) amount: i128,
    pub(crate) discount: Option<f64>,
    pub(crate) created_at_ms: i64,
    pub(crate) updated_at_ms: Option<i64>,
    pub(crate) quantity: i32,
    pub(crate) weight: f64,
    pub(crate) is_gift: bool,
    pub(crate) note: Option<String>,
    pub(crate) address: Address,
    pub(crate) items: Vec<Item>,
    pub(crate) tags: Vec<String>,
}

/// Where an order goes.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Address {
    pub(crate) street: String,
    pub(crate) city: String,
    pub(crate) zip: String,
    pub(crate) lat: f64,
    pub(crate) lon: f64,
}

/// What an order holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Item {
    pub(crate) sku: String,
    pub(crate) qty: i32,
    pub(crate) price: f64,
}

/// Order number `number` of `seed`.
pub(crate) fn order(seed: u64, number: u64) -> Order {
    let mut dice = Dice::new(seed, number);
    let created_at_ms = FIRST_MS + i64::try_from(number).unwrap_or(0) * 3 + dice.signed(3);
    Order {
        order_id: dice.uuid(),
        customer_id: dice.signed(200_000),
        status: dice.pick(&STATUSES),
        currency: dice.pick(&CURRENCIES),
        amount: i128::from(dice.below(100_000_000)),
        discount: dice.one_in(3).then(|| dice.thousandths(0, 500)),
        created_at_ms,
        updated_at_ms: dice
            .one_in(2)
            .then(|| created_at_ms + dice.signed(86_400_000)),
        quantity: dice.int(1, 20),
        weight: dice.thousandths(10, 30_000),
        is_gift: dice.one_in(10),
        note: dice
            .one_in(4)
            .then(|| format!("please leave at door {}", dice.below(100))),
        address: Address {
            street: format!("{} Long Street", 1 + dice.below(999)),
            city: dice.pick(&CITIES),
            zip: format!("{:05}", dice.below(100_000)),
            lat: dice.thousandths(-90_000, 90_000),
            lon: dice.thousandths(-180_000, 180_000),
        },
        items: (0..1 + dice.below(3))
            .map(|_| Item {
                sku: format!("SKU-{:05}", dice.below(50_000)),
                qty: dice.int(1, 5),
                price: dice.hundredths(100_000),
            })
            .collect(),
        tags: (0..dice.below(3)).map(|_| dice.pick(&TAGS)).collect(),
    }
}

impl Order {
    /// Appends the order's Avro encoding.
    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        text(into, &self.order_id);
        long(into, self.customer_id);
        text(into, &self.status);
        text(into, &self.currency);
        decimal(into, self.amount);
        option(into, self.discount, double);
        long(into, self.created_at_ms);
        option(into, self.updated_at_ms, long);
        long(into, i64::from(self.quantity));
        double(into, self.weight);
        into.push(u8::from(self.is_gift));
        option(into, self.note.as_deref(), text);
        self.address.encode(into);
        array(into, &self.items, |into, item| {
            text(into, &item.sku);
            long(into, i64::from(item.qty));
            double(into, item.price);
        });
        array(into, &self.tags, |into, tag| text(into, tag));
    }
}

impl Address {
    fn encode(&self, into: &mut Vec<u8>) {
        text(into, &self.street);
        text(into, &self.city);
        text(into, &self.zip);
        double(into, self.lat);
        double(into, self.lon);
    }
}

/// Zigzag, then seven bits a byte.
fn long(into: &mut Vec<u8>, value: i64) {
    let mut rest = (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned();
    while rest >= 0x80 {
        into.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    into.push(rest.to_le_bytes()[0]);
}

fn double(into: &mut Vec<u8>, value: f64) {
    into.extend_from_slice(&value.to_le_bytes());
}

fn text(into: &mut Vec<u8>, value: &str) {
    bytes(into, value.as_bytes());
}

fn bytes(into: &mut Vec<u8>, value: &[u8]) {
    long(into, i64::try_from(value.len()).unwrap_or(i64::MAX));
    into.extend_from_slice(value);
}

/// Two's complement, big end first, no more bytes than the sign needs.
fn decimal(into: &mut Vec<u8>, value: i128) {
    let all = value.to_be_bytes();
    let fill = if value < 0 { 0xff } else { 0 };
    let sign_kept = |next: u8| (next & 0x80 != 0) == (value < 0);
    let skipped = all
        .windows(2)
        .take_while(|pair| matches!(pair, [first, next] if *first == fill && sign_kept(*next)))
        .count();
    bytes(into, all.get(skipped..).unwrap_or(&all));
}

/// The second branch of `[null, T]`.
fn option<T>(into: &mut Vec<u8>, value: Option<T>, encode: fn(&mut Vec<u8>, T)) {
    long(into, i64::from(value.is_some()));
    if let Some(value) = value {
        encode(into, value);
    }
}

fn array<T>(into: &mut Vec<u8>, values: &[T], encode: fn(&mut Vec<u8>, &T)) {
    if !values.is_empty() {
        long(into, i64::try_from(values.len()).unwrap_or(i64::MAX));
        values.iter().for_each(|value| encode(into, value));
    }
    long(into, 0);
}

/// SplitMix64: a few nanoseconds a draw, and any order's sequence begins where its number says.
struct Dice(u64);

impl Dice {
    fn new(seed: u64, number: u64) -> Self {
        let mut dice = Dice(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95));
        dice.0 = dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u32) -> u32 {
        u32::try_from((u128::from(self.next()) * u128::from(limit)) >> 64).unwrap_or(0)
    }

    fn signed(&mut self, limit: u32) -> i64 {
        i64::from(self.below(limit))
    }

    fn int(&mut self, from: i32, to: i32) -> i32 {
        from.saturating_add_unsigned(self.below(from.abs_diff(to) + 1))
    }

    fn one_in(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }

    fn thousandths(&mut self, from: i32, to: i32) -> f64 {
        f64::from(self.int(from, to)) / 1000.0
    }

    fn hundredths(&mut self, limit: u32) -> f64 {
        f64::from(self.below(limit)) / 100.0
    }

    fn pick(&mut self, of: &[&str]) -> String {
        let index = self.below(u32::try_from(of.len()).unwrap_or(0));
        of.get(usize::try_from(index).unwrap_or(0))
            .map(ToString::to_string)
            .unwrap_or_default()
    }

    fn uuid(&mut self) -> String {
        let bits = (u128::from(self.next()) << 64) | u128::from(self.next());
        uuid::Builder::from_random_bytes(bits.to_be_bytes())
            .into_uuid()
            .to_string()
    }
}

#[cfg(test)]
mod tests {
    use apache_avro::types::Value;

    use super::*;

    fn decode(bytes: &[u8]) -> Value {
        let schema = apache_avro::Schema::parse_str(SCHEMA).unwrap();
        let mut rest = bytes;
        let value = apache_avro::from_avro_datum(&schema, &mut rest, None).unwrap();
        assert!(rest.is_empty(), "{} bytes are left", rest.len());
        value
    }

    fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
        let Value::Record(fields) = value else {
            panic!("{value:?}")
        };
        &fields.iter().find(|(found, _)| found == name).unwrap().1
    }

    fn optional<T>(value: Option<T>, wrap: fn(T) -> Value) -> Value {
        match value {
            Some(value) => Value::Union(1, Box::new(wrap(value))),
            None => Value::Union(0, Box::new(Value::Null)),
        }
    }

    #[test]
    fn every_order_decodes_to_itself_with_an_independent_decoder() {
        for number in 0..2000 {
            let order = order(7, number);
            let mut bytes = Vec::new();
            order.encode(&mut bytes);
            let value = decode(&bytes);
            assert_eq!(*field(&value, "order_id"), Value::String(order.order_id));
            assert_eq!(
                *field(&value, "customer_id"),
                Value::Long(order.customer_id)
            );
            let Value::Decimal(amount) = field(&value, "amount") else {
                panic!("no decimal")
            };
            let unscaled: Vec<u8> = amount.try_into().unwrap();
            assert_eq!(
                unscaled
                    .iter()
                    .fold(0_i128, |sum, byte| sum * 256 + i128::from(*byte)),
                order.amount
            );
            assert_eq!(
                *field(&value, "discount"),
                optional(order.discount, Value::Double)
            );
            assert_eq!(
                *field(&value, "created_at"),
                Value::TimestampMillis(order.created_at_ms)
            );
            assert_eq!(
                *field(&value, "updated_at"),
                optional(order.updated_at_ms, Value::TimestampMillis)
            );
            assert_eq!(*field(&value, "note"), optional(order.note, Value::String));
            assert_eq!(
                *field(field(&value, "address"), "city"),
                Value::String(order.address.city)
            );
            assert_eq!(
                *field(&value, "tags"),
                Value::Array(order.tags.into_iter().map(Value::String).collect())
            );
            let Value::Array(items) = field(&value, "items") else {
                panic!("no items")
            };
            assert_eq!(items.len(), order.items.len());
            assert_eq!(
                *field(&items[0], "price"),
                Value::Double(order.items[0].price)
            );
        }
    }

    #[test]
    fn a_seed_decides_and_numbers_differ() {
        assert_eq!(order(1, 5), order(1, 5));
        assert_ne!(order(1, 5), order(2, 5));
        assert_ne!(order(1, 5), order(1, 6));
    }

    #[test]
    fn values_are_as_the_reference_data_says() {
        let orders: Vec<Order> = (0..20_000).map(|number| order(1, number)).collect();
        let share = |of: &dyn Fn(&Order) -> bool| orders.iter().filter(|order| of(order)).count();
        for (name, counted, expected) in [
            ("discount", share(&|order| order.discount.is_some()), 6667),
            (
                "updated_at",
                share(&|order| order.updated_at_ms.is_some()),
                10_000,
            ),
            ("note", share(&|order| order.note.is_some()), 5000),
            ("is_gift", share(&|order| order.is_gift), 2000),
        ] {
            assert!(counted.abs_diff(expected) < 400, "{name}: {counted}");
        }
        assert!(orders.iter().all(|order| (1..=20).contains(&order.quantity)
            && (1..=3).contains(&order.items.len())
            && order.tags.len() <= 2));
        assert!(
            orders
                .iter()
                .all(|order| order.amount < 100_000_000 && order.customer_id < 200_000)
        );
        let mut bytes = Vec::new();
        orders.iter().for_each(|order| order.encode(&mut bytes));
        let mean = bytes.len() / orders.len();
        assert!((170..=205).contains(&mean), "{mean} bytes a record");
    }

    #[test]
    fn a_negative_decimal_keeps_its_sign() {
        for (value, expected) in [
            (0, vec![2, 0]),
            (127, vec![2, 127]),
            (128, vec![4, 0, 128]),
            (-1, vec![2, 255]),
            (-128, vec![2, 128]),
            (-129, vec![4, 255, 127]),
        ] {
            let mut bytes = Vec::new();
            decimal(&mut bytes, value);
            assert_eq!(bytes, expected, "{value}");
        }
    }
}

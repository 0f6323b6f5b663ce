use distributary::Event;

#[derive(Event)]
#[event(topic = "payments", id = "payment_id", time = "at", subject = "user_id")]
enum Either {
    Payment,
    Refund,
}

#[derive(Event)]
#[event(topic = "payments", id = "0", time = "1", no_personal_data)]
struct Tuple(u64, distributary::Timestamp);

#[derive(Event)]
#[event(topic = "payments", id = "id", time = "at", no_personal_data)]
struct Generic<'a, T> {
    id: &'a T,
    at: distributary::Timestamp,
}

#[derive(Event)]
#[event(topic = "payments", id = "id", time = "at", no_personal_data)]
struct Unit;

#[derive(Event)]
#[event(topic = "payments", id = "id", time = "at", no_personal_data)]
union Overlay {
    id: u64,
    at: i64,
}

fn main() {}

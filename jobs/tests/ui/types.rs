use distributary::{Event, Timestamp, serde};

#[derive(Event, serde::Serialize, serde::Deserialize, Clone)]
#[serde(crate = "distributary::serde")]
#[event(topic = "payments", id = "score", time = "at", subject = "user_id")]
struct FloatId {
    score: f64,
    user_id: String,
    at: Timestamp,
}

#[derive(Event, serde::Serialize, serde::Deserialize, Clone)]
#[serde(crate = "distributary::serde")]
#[event(topic = "payments", id = "payment_id", time = "at", subject = "user_id")]
struct IntegerTime {
    payment_id: u64,
    user_id: String,
    at: i64,
}

#[derive(Event, serde::Serialize, serde::Deserialize, Clone)]
#[serde(crate = "distributary::serde")]
#[event(topic = "payments", id = "payment_id", time = "at", subject = "users")]
struct ManySubjects {
    payment_id: u64,
    users: Vec<String>,
    at: Timestamp,
}

#[derive(Event)]
#[event(topic = "payments", id = "payment_id", time = "at", no_personal_data)]
struct NotData {
    payment_id: u64,
    at: Timestamp,
}

fn main() {}

use distributary::Event;

#[derive(Event)]
struct NoAttribute {
    at: distributary::Timestamp,
}

#[derive(Event)]
#[event(subject = "user_id")]
struct NoTopicIdTime {
    payment_id: String,
    user_id: String,
    at: distributary::Timestamp,
}

#[derive(Event)]
#[event(topic = "payments", id = "payment_id", time = "at")]
struct NobodyNamed {
    payment_id: String,
    user_id: String,
    at: distributary::Timestamp,
}

#[derive(Event)]
#[event(topic = "payments", id = "payment_id", time = "at", subject = "user_id", no_personal_data)]
struct BothNamed {
    payment_id: String,
    user_id: String,
    at: distributary::Timestamp,
}

fn main() {}

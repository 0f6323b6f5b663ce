use distributary::Event;

#[derive(Event)]
#[event(topik = "payments", id = "payment_id", time = "at", subject = "user_id", colour = 5)]
struct UnknownKeys {
    payment_id: String,
    user_id: String,
    at: distributary::Timestamp,
}

#[derive(Event)]
#[event(topic = "pay ments", id = payment_id, time, subject = "user_id", subject = "user_id", no_personal_data = true)]
struct WrongForms {
    payment_id: String,
    user_id: String,
    at: distributary::Timestamp,
}

#[derive(Event)]
#[event(topic = "payments", id = "payment_id", time = "at", subject = "user_id", delay = "5 seconds", max_ahead = "1.5h")]
struct WrongDurations {
    payment_id: String,
    user_id: String,
    at: distributary::Timestamp,
}

#[derive(Event)]
#[event(topic = "payments", id = "payment_id", time = "at", subject = "user_id", delay = "h", max_ahead = "99999999999999d")]
struct WrongNumbers {
    payment_id: String,
    user_id: String,
    at: distributary::Timestamp,
}

fn main() {}

use distributary::Event;

#[derive(Event)]
#[event(topic = "payments", id = "paymnt_id", time = "when", subject = "userid", key = "zzz")]
struct Payment {
    payment_id: String,
    user_id: String,
    at: distributary::Timestamp,
}

fn main() {}

//! Calls each function of the standard library that `clippy.toml` bans, once.
#![deny(clippy::disallowed_methods)]
#![allow(unsafe_code, reason = "one of the banned functions is unsafe")]

pub fn violations() {
    let _ = std::time::SystemTime::now();
    let _ = std::time::Instant::now();
    let _ = std::sync::mpsc::channel::<()>();
    std::thread::sleep(std::time::Duration::ZERO);
    // SAFETY: never called.
    unsafe { std::env::set_var("A", "b") };
}

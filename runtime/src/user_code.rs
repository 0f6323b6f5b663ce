//! User code is caught: an error or a panic in a closure makes that one record a dead letter.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local!(static IN_USER_CODE: Cell<bool> = const { Cell::new(false) });

/// Runs a closure of the user; a panic becomes an error that says so.
///
/// The panic's own text may hold personal data: it travels with the dead letter and is never printed.
///
/// ```
/// use distributary_runtime::user_code::catch;
/// assert_eq!(catch(|| 1 + 1), Ok(2));
/// assert_eq!(catch(|| -> u32 { panic!("no such merchant") }), Err("panicked: no such merchant".to_string()));
/// ```
///
/// # Errors
/// The closure panicked.
#[inline]
pub fn catch<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    if !HOOK.is_completed() {
        quiet_hook();
    }
    let nested = IN_USER_CODE.replace(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    IN_USER_CODE.set(nested);
    result.map_err(|payload| cause_of(&*payload))
}

#[cold]
fn cause_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.unwrap_or_else(|| "(no text)".into()))
}

static HOOK: Once = Once::new();

/// Keeps the panics of user code out of the log; all others are reported as before.
#[cold]
fn quiet_hook() {
    HOOK.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !IN_USER_CODE.get() {
                report(info);
            }
        }));
    });
}

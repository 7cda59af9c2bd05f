//! Days and minutes that forms name.

use base::Timestamp;
use intake::Date;
use organisation::calendar::minute_of;
use pages::{Form, PageError};

/// The day of a form's field, if one is typed.
pub(crate) fn asked_day(form: &Form) -> Result<Option<Date>, PageError> {
    let wrong = |_| {
        PageError::bad_request(
            "2026-04-01 のような日付を入力してください。",
            "Please type a day such as 2026-04-01.",
        )
    };
    form.find("day").map(|day| day.trim().parse().map_err(wrong)).transpose()
}

/// The minute of a form's field, if one is typed.
///
/// # Errors
/// 400.
pub(crate) fn asked_minute(form: &Form) -> Result<Option<Timestamp>, PageError> {
    let wrong = || {
        PageError::bad_request(
            "2026-04-01T00:00 のような日本時間の時刻を入力してください。",
            "Please type a time in Japan such as 2026-04-01T00:00.",
        )
    };
    form.find("at").map(|at| minute_of(at.trim()).ok_or_else(wrong)).transpose()
}

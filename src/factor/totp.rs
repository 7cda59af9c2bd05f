//! Codes of authenticator apps: RFC 6238 over RFC 4226, with SHA-1, six digits and steps of half a minute, which is all that
//! every app knows.
//!
//! A code is taken within one step of the time, or of the time as the app last had it: a phone that is a minute fast gets in,
//! and so does one whose clock was put right. Farther away, up to five minutes, one code is not enough; the next one has to
//! follow (RFC 4226, 7.4). The step of the last code that was taken only grows, so that none is taken twice (RFC 6238, 5.2),
//! whatever becomes of the server's clock.

use base::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;

use crate::tables::{AppRow, Secret};

const STEP_MS: u64 = 30_000;
const DIGITS: usize = 6;

/// So many steps away a code may be, either way, that is taken by itself.
const NEAR: u64 = 1;

/// So many steps an app's clock may be wrong at all.
const FAR: u64 = 10;

/// So many codes later the one may come that follows one from afar.
const FOLLOWS: u64 = 3;

/// How a code is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// It is right; the app as it is from now on.
    Right(AppRow),
    /// It was taken before, or one after it was.
    Again,
    /// It is of another time; the app as it is from now on.
    Off(AppRow),
    /// It is not of this app.
    Wrong,
}

/// The step of a moment.
pub(crate) const fn step_of(ms: u64) -> u64 {
    ms / STEP_MS
}

/// The code of a counter (RFC 4226, 5.3).
pub(crate) fn code_of(secret: &[u8], counter: u64) -> String {
    let mut mac = match Hmac::<Sha1>::new_from_slice(secret) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    };
    mac.update(&counter.to_be_bytes());
    let hash: [u8; 20] = mac.finalize().into_bytes().into();
    let offset = usize::from(hash[19] & 0x0f);
    let word = hash[offset..offset + 4].iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
    format!("{:0DIGITS$}", (word & 0x7fff_ffff) % 1_000_000)
}

/// What an app with this secret shows at a moment: for tests of what stands above, which sign in with it.
#[must_use]
pub fn code_at(secret: &Secret, now: Timestamp) -> String {
    code_of(secret, step_of(now.millis()))
}

/// Whether a text can be a code.
pub(crate) fn is_code(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The steps around now whose code this is.
fn matching(secret: &Secret, code: &str, now: u64) -> Vec<u64> {
    let around = now.saturating_sub(FAR)..=now.saturating_add(FAR);
    around.filter(|step| code_of(secret, *step).as_bytes().ct_eq(code.as_bytes()).into()).collect()
}

/// By how much an app's clock is ahead; nothing that is matched is farther away than a byte tells.
fn drift(step: u64, now: u64) -> i8 {
    let by = i8::try_from(step.abs_diff(now)).unwrap_or(i8::MAX);
    if step < now { -by } else { by }
}

/// The first code of an app that is set up, from any time that an app may have: the step of it, and how wrong its clock is.
pub(crate) fn confirmed(secret: &Secret, code: &str, now: u64) -> Option<(u64, i8)> {
    let step = matching(secret, code, now).into_iter().min_by_key(|step| step.abs_diff(now))?;
    Some((step, drift(step, now)))
}

impl AppRow {
    /// Whether a code was taken that no clock as right as the app's has now.
    pub(crate) fn is_ahead_of(&self, now: u64) -> bool {
        let furthest = now.saturating_add_signed(i64::from(self.drift.max(0))).saturating_add(NEAR);
        self.last_step > furthest
    }

    /// Judges a code at a step.
    pub(crate) fn judge(&self, code: &str, now: u64) -> Judged {
        let steps = matching(&self.secret, code, now);
        let known = now.saturating_add_signed(i64::from(self.drift));
        let follows = |step: u64| {
            self.expected_after.is_some_and(|before| (before + 1..=before + FOLLOWS).contains(&step))
        };
        let is_taken =
            |step: u64| step.abs_diff(now) <= NEAR || step.abs_diff(known) <= NEAR || follows(step);
        let newer = || steps.iter().copied().filter(|step| *step > self.last_step);
        if let Some(step) = newer().find(|step| is_taken(*step)) {
            let drift = drift(step, now);
            return Judged::Right(Self { last_step: step, drift, expected_after: None, ..self.clone() });
        }
        if let Some(step) = newer().next() {
            return Judged::Off(Self { expected_after: Some(step), ..self.clone() });
        }
        if steps.is_empty() { Judged::Wrong } else { Judged::Again }
    }
}

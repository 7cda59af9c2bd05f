//! Numbers that are not integers, in rooms of versions 3 to 5.
//!
//! Those versions hash whatever the first server wrote, and it wrote numbers as Python's `repr` does:
//! the shortest digits that read back, with an exponent below 10⁻⁴ and from 10¹⁶ on. A server that
//! writes them otherwise gets other event ids.

/// The spelling of a JSON number with a fraction or an exponent; `None` if it is not finite.
pub(crate) fn canonical(text: &str) -> Option<String> {
    let number: f64 = text.parse().ok()?;
    if !number.is_finite() {
        return None;
    }
    // Rust's `{:e}` gives the shortest digits that read back: `-1.25e-7`.
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return Some(format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs()));
    }
    let plain = format!("{number}");
    Some(if plain.contains('.') { plain } else { plain + ".0" })
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (input, expected) in [
            ("1.0", Some("1.0")),
            ("-0.0", Some("-0.0")),
            ("1e3", Some("1000.0")),
            ("1.5E+2", Some("150.0")),
            ("0.0001", Some("0.0001")),
            ("0.00001", Some("1e-05")),
            ("1.25e-7", Some("1.25e-07")),
            ("1e15", Some("1000000000000000.0")),
            ("1e16", Some("1e+16")),
            ("123456789012345680.0", Some("1.2345678901234568e+17")),
            ("1e400", None),
        ] {
            assert_eq!(canonical(input).as_deref(), expected, "{input}");
        }
    }
}

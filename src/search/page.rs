//! Pages: how grams and the documents that have them are written.
//!
//! A page holds its grams in order, each with the numbers of its documents within the segment; all as steps from
//! the one before, in seven bits a byte. Most steps take one byte.

use crate::grams::Gram;

/// Adds a number.
pub(crate) fn write(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Takes a number; nothing where there is none.
pub(crate) fn read(input: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Writes a page of grams, which are in order, each pair of gram and document once.
pub(crate) fn encode(postings: &[(Gram, u32)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(postings.len() * 3);
    let mut before = 0;
    for same in postings.chunk_by(|one, other| one.0 == other.0) {
        let Some((gram, _)) = same.first() else { continue };
        write(&mut out, gram.0.wrapping_sub(before));
        before = gram.0;
        write(&mut out, u64::try_from(same.len()).unwrap_or(0));
        let mut last = 0;
        for (_, document) in same {
            write(&mut out, u64::from(document.wrapping_sub(last)));
            last = *document;
        }
    }
    out
}

/// Reads a page, as far as it can be read.
pub(crate) fn decode(mut page: &[u8], mut each: impl FnMut(Gram, u32)) {
    let mut gram = 0_u64;
    while let Some((step, count)) = read(&mut page).zip(read(&mut page)) {
        gram = gram.wrapping_add(step);
        let mut document = 0_u32;
        for _ in 0..count {
            let Some(step) = read(&mut page) else { return };
            document = document.wrapping_add(u32::try_from(step).unwrap_or(u32::MAX));
            each(Gram(gram), document);
        }
    }
}

/// The documents that have a gram from one to another, both included; in no order, perhaps twice.
pub(crate) fn find(mut page: &[u8], (first, last): (Gram, Gram), found: &mut Vec<u32>) {
    let mut gram = 0_u64;
    while let Some((step, count)) = read(&mut page).zip(read(&mut page)) {
        gram = gram.wrapping_add(step);
        if gram > last.0 {
            return;
        }
        if gram < first.0 {
            skip(&mut page, count);
            continue;
        }
        let mut document = 0_u32;
        for _ in 0..count {
            let Some(step) = read(&mut page) else { return };
            document = document.wrapping_add(u32::try_from(step).unwrap_or(u32::MAX));
            found.push(document);
        }
    }
}

/// Leaves out so many numbers, or all that is left.
fn skip(page: &mut &[u8], mut count: u64) {
    const ENDS: u64 = 0x8080_8080_8080_8080;
    // Eight bytes at a time: no more numbers can end in them than are left out.
    while count >= 8
        && let Some((eight, rest)) = page.split_first_chunk::<8>()
    {
        count -= u64::from((!u64::from_le_bytes(*eight) & ENDS).count_ones());
        *page = rest;
    }
    while count > 0
        && let Some((byte, rest)) = page.split_first()
    {
        count -= u64::from(byte & 0x80 == 0);
        *page = rest;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_page_is_read_as_it_was_written(
            mut postings in proptest::collection::vec((prop_oneof![0_u64..20, 0_u64..1 << 46], 0_u32..100_000), 0..300),
            wanted in 0_usize..300,
        ) {
            postings.sort_unstable();
            postings.dedup();
            let postings: Vec<(Gram, u32)> = postings.into_iter().map(|(gram, document)| (Gram(gram), document)).collect();
            let page = encode(&postings);
            let mut read_back = Vec::new();
            decode(&page, |gram, document| read_back.push((gram, document)));
            prop_assert_eq!(&read_back, &postings);
            if let Some((gram, _)) = postings.get(wanted) {
                let mut found = Vec::new();
                find(&page, (*gram, *gram), &mut found);
                let all: Vec<u32> = postings.iter().filter(|it| it.0 == *gram).map(|it| it.1).collect();
                prop_assert_eq!(found, all);
                let mut none = Vec::new();
                find(&page, (Gram(gram.0 + 1), Gram(gram.0 + 1)), &mut none);
                let next: Vec<u32> = postings.iter().filter(|it| it.0.0 == gram.0 + 1).map(|it| it.1).collect();
                prop_assert_eq!(none, next);
            }
        }

        #[test]
        fn bytes_that_are_no_page_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut count = 0;
            decode(&bytes, |_, _| count += 1);
            find(&bytes, (Gram(0), Gram(u64::MAX)), &mut Vec::new());
            prop_assert!(count <= 200);
        }
    }
}

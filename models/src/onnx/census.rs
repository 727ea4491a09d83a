//! Counts what a file claims before any of it is decoded: two bytes may be an empty message that takes hundreds in
//! memory.

use super::error::{OnnxError, Result, bad, too_large};

/// Largest file, bytes.
pub(super) const FILE_BYTES_MAX: usize = 64 << 20;
/// Messages of all kinds.
const MESSAGES_MAX: usize = 1 << 16;
/// Texts and byte strings: the modes of tree nodes are texts.
const TEXTS_MAX: usize = 4 << 20;
/// Numbers in lists.
const NUMBERS_MAX: usize = 16 << 20;

/// What a field holds, as far as it is decoded.
#[derive(Clone, Copy)]
enum Field {
    Message(&'static [(u32, Field)]),
    Text,
    /// A list of varints, packed or not.
    Varints,
    /// A list of numbers of so many bytes, packed or not.
    Fixed(usize),
}

const ENTRY: &[(u32, Field)] = &[(1, Field::Text), (2, Field::Text)];
const DIM: &[(u32, Field)] = &[(2, Field::Text)];
const SHAPE: &[(u32, Field)] = &[(1, Field::Message(DIM))];
const TENSOR_TYPE: &[(u32, Field)] = &[(2, Field::Message(SHAPE))];
const TYPE: &[(u32, Field)] = &[(1, Field::Message(TENSOR_TYPE))];
const VALUE: &[(u32, Field)] = &[(1, Field::Text), (2, Field::Message(TYPE))];
const TENSOR: &[(u32, Field)] = &[
    (1, Field::Varints),
    (4, Field::Fixed(4)),
    (5, Field::Varints),
    (6, Field::Text),
    (7, Field::Varints),
    (8, Field::Text),
    (9, Field::Text),
    (10, Field::Fixed(8)),
];
const ATTRIBUTE: &[(u32, Field)] = &[
    (1, Field::Text),
    (4, Field::Text),
    (5, Field::Message(TENSOR)),
    (7, Field::Fixed(4)),
    (8, Field::Varints),
    (9, Field::Text),
];
const NODE: &[(u32, Field)] = &[
    (1, Field::Text),
    (2, Field::Text),
    (3, Field::Text),
    (4, Field::Text),
    (5, Field::Message(ATTRIBUTE)),
    (7, Field::Text),
];
const GRAPH: &[(u32, Field)] = &[
    (1, Field::Message(NODE)),
    (2, Field::Text),
    (5, Field::Message(TENSOR)),
    (11, Field::Message(VALUE)),
    (12, Field::Message(VALUE)),
];
const MODEL: &[(u32, Field)] = &[
    (2, Field::Text),
    (3, Field::Text),
    (6, Field::Text),
    (7, Field::Message(GRAPH)),
    (8, Field::Message(ENTRY)),
    (14, Field::Message(ENTRY)),
];

/// Refuses a file that would take more memory than its kind warrants, and one whose fields do not end where they say.
pub(super) fn check(bytes: &[u8]) -> Result<()> {
    if bytes.len() > FILE_BYTES_MAX {
        return too_large(format!("{} bytes, at most {FILE_BYTES_MAX}", bytes.len()));
    }
    let mut census = Census::default();
    census.message(bytes, MODEL)?;
    for (count, most, what) in [
        (census.messages, MESSAGES_MAX, "nodes, attributes and tensors"),
        (census.texts, TEXTS_MAX, "texts"),
        (census.numbers, NUMBERS_MAX, "numbers"),
    ] {
        if count > most {
            return too_large(format!("{count} {what}, at most {most}"));
        }
    }
    Ok(())
}

#[derive(Default)]
struct Census {
    messages: usize,
    texts: usize,
    numbers: usize,
}

impl Census {
    /// The depth of the schema bounds the recursion.
    fn message(&mut self, mut rest: &[u8], fields: &[(u32, Field)]) -> Result<()> {
        while !rest.is_empty() {
            let key = varint(&mut rest)?;
            let number = u32::try_from(key >> 3).unwrap_or(u32::MAX);
            let field = fields.iter().find(|(known, _)| *known == number).map(|(_, field)| *field);
            match key & 7 {
                0 => {
                    varint(&mut rest)?;
                    self.numbers += 1;
                }
                1 => self.fixed(&mut rest, 8)?,
                5 => self.fixed(&mut rest, 4)?,
                2 => {
                    let length = varint(&mut rest)?;
                    let length = usize::try_from(length).unwrap_or(usize::MAX);
                    let inside = take(&mut rest, length)?;
                    self.inside(inside, field)?;
                }
                other => return bad(format!("a field of wire type {other}")),
            }
        }
        Ok(())
    }

    fn inside(&mut self, inside: &[u8], field: Option<Field>) -> Result<()> {
        match field {
            Some(Field::Message(fields)) => {
                self.messages += 1;
                return self.message(inside, fields);
            }
            Some(Field::Text) => self.texts += 1,
            Some(Field::Varints) => {
                self.numbers += inside.iter().filter(|byte| **byte < 0x80).count();
            }
            Some(Field::Fixed(size)) => self.numbers += inside.len() / size,
            None => {}
        }
        Ok(())
    }

    fn fixed(&mut self, rest: &mut &[u8], size: usize) -> Result<()> {
        self.numbers += 1;
        take(rest, size).map(|_| ())
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let Some((inside, after)) = rest.split_at_checked(length) else {
        return bad("it ends in the middle of a field");
    };
    *rest = after;
    Ok(inside)
}

fn varint(rest: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest
            .split_first()
            .ok_or_else(|| OnnxError::Malformed("it ends in the middle of a number".into()))?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    bad("a number of more than 64 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Many empty nodes: two bytes each in the file.
    #[test]
    fn small_bytes_that_claim_much_are_refused_before_they_are_decoded() {
        let graph = [0x0a, 0x00].repeat(70_000);
        let mut model = vec![0x3a];
        let mut length = graph.len();
        while length >= 0x80 {
            model.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        model.push(length as u8);
        model.extend(graph);
        assert!(matches!(check(&model), Err(OnnxError::TooLarge(_))), "{:?}", check(&model));
        assert!(matches!(check(&model[..9]), Err(OnnxError::Malformed(_))));
        assert!(matches!(check(&[0x0b]), Err(OnnxError::Malformed(_))), "a group");
        assert!(matches!(check(&[0xff; 12]), Err(OnnxError::Malformed(_))), "no end");
        assert_eq!(check(&[]), Ok(()));
    }
}

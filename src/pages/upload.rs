//! Forms that carry files (`multipart/form-data`).

use bytes::Bytes;
use futures_util::stream;
use multer::{Field, Multipart};
use web::{HeaderMap, header};

use crate::{BadForm, Form, form::MOST_FIELDS};

/// Longest name of a file that is kept, in bytes.
const LONGEST_NAME: usize = 255;

/// A form with files.
#[derive(Debug)]
pub struct Upload {
    /// The fields that are no files.
    pub form: Form,
    files: Vec<UploadedFile>,
}

/// A file of a form.
#[derive(Debug)]
pub struct UploadedFile {
    field: String,
    /// What its sender calls it; the end where that is long.
    pub name: String,
    /// What it holds.
    pub bytes: Bytes,
}

impl Upload {
    /// Takes a body apart that is here as a whole.
    pub(crate) async fn of_body(headers: &HeaderMap, body: &Bytes) -> Result<Upload, BadForm> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let boundary = kind.and_then(|kind| multer::parse_boundary(kind).ok());
        let boundary = boundary.ok_or(BadForm("the body is not multipart/form-data"))?;
        let whole = stream::iter([Ok::<_, std::convert::Infallible>(body.clone())]);
        let mut parts = Multipart::new(whole, boundary);
        let (mut fields, mut files) = (Vec::new(), Vec::new());
        while let Some(part) = parts.next_field().await.map_err(unreadable)? {
            if fields.len() + files.len() >= MOST_FIELDS {
                return Err(BadForm("the form has too many fields"));
            }
            let field = part.name().unwrap_or_default().to_owned();
            match part.file_name().map(str::to_owned) {
                Some(name) => {
                    let bytes = part.bytes().await.map_err(unreadable)?;
                    files.push(UploadedFile { field, name: end_of(&name).to_owned(), bytes });
                }
                None => fields.push((field, text(part).await?)),
            }
        }
        Ok(Upload { form: Form::of_fields(fields)?, files })
    }

    /// The file of a field, if one was chosen: browsers send an empty one without a name where none was.
    pub fn file(&self, field: &str) -> Option<&UploadedFile> {
        self.files.iter().find(|file| file.field == field && !(file.name.is_empty() && file.bytes.is_empty()))
    }
}

async fn text(part: Field<'_>) -> Result<String, BadForm> {
    let bytes = part.bytes().await.map_err(unreadable)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| BadForm("a field of the form is not UTF-8"))
}

fn unreadable(_: multer::Error) -> BadForm {
    BadForm("the form cannot be read")
}

fn end_of(name: &str) -> &str {
    let from = (name.len().saturating_sub(LONGEST_NAME)..name.len()).find(|at| name.is_char_boundary(*at));
    from.map_or("", |from| &name[from..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(kind: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            web::HeaderValue::from_str(kind).unwrap_or_else(|_| panic!("a header")),
        );
        headers
    }

    async fn read(body: &str) -> Result<Upload, BadForm> {
        let body = Bytes::from(body.replace('\n', "\r\n"));
        Upload::of_body(&headers("multipart/form-data; boundary=x"), &body).await
    }

    #[tokio::test]
    async fn fields_and_files_are_told_apart() {
        let body = "--x\nContent-Disposition: form-data; name=\"day\"\n\n2026-04-01\n\
                    --x\nContent-Disposition: form-data; name=\"file\"; filename=\"人事.csv\"\n\
                    Content-Type: text/csv\n\na,b\n--x--\n";
        let upload = read(body).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(upload.form.get("day"), "2026-04-01");
        let file = upload.file("file").unwrap_or_else(|| panic!("a file"));
        assert_eq!((&*file.name, &file.bytes[..]), ("人事.csv", &b"a,b"[..]));
        assert!(upload.file("day").is_none());
    }

    #[tokio::test]
    async fn a_file_that_was_not_chosen_is_none() {
        let body = "--x\nContent-Disposition: form-data; name=\"file\"; filename=\"\"\n\n\n--x--\n";
        assert!(read(body).await.is_ok_and(|upload| upload.file("file").is_none()));
    }

    #[tokio::test]
    async fn what_is_cut_off_comes_twice_or_is_too_much_is_refused() {
        let field = |name: &str| format!("--x\nContent-Disposition: form-data; name=\"{name}\"\n\n1\n");
        assert!(read(&field("a")).await.is_err(), "cut off");
        assert!(read(&format!("{}{}--x--\n", field("a"), field("a"))).await.is_err(), "twice");
        let many: String = (0..=MOST_FIELDS).map(|number| field(&number.to_string())).collect();
        assert!(read(&format!("{many}--x--\n")).await.is_err(), "too many");
        let body = Bytes::from_static(b"a=b");
        assert!(Upload::of_body(&headers("application/x-www-form-urlencoded"), &body).await.is_err());
    }
}

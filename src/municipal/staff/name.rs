//! Names as they are shown: how somebody is called, with what tells him from others of that name.

use std::{collections::HashMap, str::FromStr};

use organisation::ListedPost;

/// Longest template, in letters.
const LONGEST: usize = 100;

/// How the name of somebody who has a post is made: text with `{name}`, `{unit}`, `{path}` and `{post}` in it.
///
/// `{unit}` is the unit of the main post, `{path}` the same with those above it. Whoever has no post is shown by his name alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Name,
    Unit,
    Path,
    Post,
}

/// What was given is no template, in both languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{en}")]
pub struct BadTemplate {
    /// In Japanese.
    pub ja: &'static str,
    /// In English.
    pub en: &'static str,
}

const fn bad(ja: &'static str, en: &'static str) -> BadTemplate {
    BadTemplate { ja, en }
}

/// `{name}({unit})`: 山田 花子(防災課).
impl Default for Template {
    fn default() -> Self {
        Self(vec![Part::Name, Part::Text("(".to_owned()), Part::Unit, Part::Text(")".to_owned())])
    }
}

impl FromStr for Template {
    type Err = BadTemplate;

    fn from_str(text: &str) -> Result<Self, BadTemplate> {
        if text.chars().count() > LONGEST {
            return Err(bad("100文字を超えています", "it has more than 100 letters"));
        }
        if text.chars().any(char::is_control) {
            return Err(bad("制御文字があります", "it has a control character"));
        }
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) =
                after.split_once('}').ok_or(bad("{ に対応する } がありません", "a { has no }"))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(match name {
                "name" => Part::Name,
                "unit" => Part::Unit,
                "path" => Part::Path,
                "post" => Part::Post,
                _ => {
                    return Err(bad(
                        "使えるのは {name}・{unit}・{path}・{post} です",
                        "there are {name}, {unit}, {path} and {post}",
                    ));
                }
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        let has_stray = |part: &Part| matches!(part, Part::Text(text) if text.contains('}'));
        if parts.iter().any(has_stray) {
            return Err(bad("} に対応する { がありません", "a } has no {"));
        }
        match parts.contains(&Part::Name) {
            true => Ok(Self(parts)),
            false => Err(bad("{name} がありません", "it lacks {name}")),
        }
    }
}

impl Template {
    /// The name of somebody, by the post that is to be seen of him.
    pub(crate) fn name(&self, called: &str, post: Option<&ListedPost<'_>>) -> String {
        let Some(post) = post else { return called.to_owned() };
        let mut name = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Name => name.push_str(called),
                Part::Unit => name.push_str(post.unit_name()),
                Part::Path => name.push_str(&post.path.join(" ")),
                Part::Post => name.push_str(post.title),
            }
        }
        without_gaps(&name)
    }
}

/// A name without what an empty title leaves: spaces at brackets, and brackets with nothing in them.
fn without_gaps(name: &str) -> String {
    let mut name = name.to_owned();
    for (gap, closed) in [("( ", "("), (" )", ")"), ("( ", "("), (" )", ")"), ("()", ""), ("()", "")] {
        name = name.replace(gap, closed);
    }
    name.trim().to_owned()
}

/// Somebody to be shown among others.
pub(crate) struct Shown<'a> {
    pub(crate) called: &'a str,
    pub(crate) post: Option<ListedPost<'a>>,
    /// The name of his account, which nobody else has.
    pub(crate) account: &'a str,
}

/// The names of people who are shown together. Whose name by the template is another's as well is shown with unit and title,
/// and where that is not enough with the name of his account.
pub(crate) fn told_apart(people: &[Shown<'_>], template: &Template) -> Vec<String> {
    let mut names: Vec<String> =
        people.iter().map(|one| template.name(one.called, one.post.as_ref())).collect();
    rename_alike(&mut names, |place, _| match people.get(place) {
        Some(Shown { called, post: Some(post), .. }) => {
            Some(without_gaps(&format!("{called}({} {})", post.path.join(" "), post.title)))
        }
        _ => None,
    });
    rename_alike(&mut names, |place, name| Some(format!("{name} {}", people.get(place)?.account)));
    names
}

/// Gives other names to all whose name is not theirs alone.
fn rename_alike(names: &mut [String], rename: impl Fn(usize, &str) -> Option<String>) {
    let mut count: HashMap<&str, usize> = HashMap::new();
    for name in names.iter() {
        *count.entry(name).or_default() += 1;
    }
    let alike = names.iter().enumerate().filter(|(_, name)| count.get(name.as_str()).is_some_and(|n| *n > 1));
    let renamed: Vec<_> = alike.filter_map(|(place, name)| Some((place, rename(place, name)?))).collect();
    for (place, name) in renamed {
        if let Some(old) = names.get_mut(place) {
            *old = name;
        }
    }
}

#[cfg(test)]
mod tests {
    use organisation::{BodyId, Tenure, UnitId};

    use super::*;

    fn post<'a>(path: &'a [String], title: &'a str) -> ListedPost<'a> {
        ListedPost {
            unit: UnitId(1),
            body: BodyId(1),
            path,
            title,
            tenure: Tenure::Main,
            order: 1,
            charges: [&[], &[]],
        }
    }

    #[test]
    fn a_template_gives_the_name_with_the_unit_and_the_name_alone_where_there_is_no_post() {
        let path = ["総務部".to_owned(), "防災課".to_owned()];
        let name = |template: &str, title: &str| {
            let template: Template = template.parse().unwrap_or_else(|error| panic!("{template}: {error}"));
            template.name("山田 花子", Some(&post(&path, title)))
        };
        assert_eq!(name("{name}({unit})", "主査"), "山田 花子(防災課)");
        assert_eq!(name("{path} {post} {name}", "主査"), "総務部 防災課 主査 山田 花子");
        assert_eq!(name("{name}({unit} {post})", ""), "山田 花子(防災課)");
        assert_eq!(name("{name}({post})", ""), "山田 花子");
        assert_eq!(Template::default().name("山田 花子", None), "山田 花子");
        assert_eq!("{name}({unit})".parse(), Ok(Template::default()));
    }

    #[test]
    fn what_names_nobody_or_cannot_be_read_is_no_template() {
        let long = format!("{{name}}{}", "あ".repeat(100));
        for text in ["", "{unit}", "{name", "name}", "{name}}", "{number}", "{name}\n", &long] {
            assert!(text.parse::<Template>().is_err(), "{text}");
        }
    }

    #[test]
    fn two_of_one_name_are_told_apart_by_unit_title_and_account() {
        let (bosai, jinji) = (["防災課".to_owned()], ["人事課".to_owned()]);
        let one =
            |path, title, account| Shown { called: "山田 花子", post: Some(post(path, title)), account };
        let told = |people: &[Shown<'_>]| told_apart(people, &Template::default());
        assert_eq!(
            told(&[one(&bosai, "主査", "a"), one(&jinji, "主査", "b")]),
            ["山田 花子(防災課)", "山田 花子(人事課)"]
        );
        let same = [one(&bosai, "主査", "a"), one(&bosai, "課長", "b"), one(&jinji, "主事", "c")];
        assert_eq!(told(&same), ["山田 花子(防災課 主査)", "山田 花子(防災課 課長)", "山田 花子(人事課)"]);
        let twins = [one(&bosai, "主査", "a"), one(&bosai, "主査", "b")];
        assert_eq!(told(&twins), ["山田 花子(防災課 主査) a", "山田 花子(防災課 主査) b"]);
        let bare = |account| Shown { called: "山田 花子", post: None, account };
        assert_eq!(told(&[bare("a"), bare("b")]), ["山田 花子 a", "山田 花子 b"]);
    }
}

//! Changes a compiled template so that values are printed and found as in the original.

use std::collections::HashMap;

use handlebars::Path;
use handlebars::template::{HelperTemplate, Parameter, Subexpression, TemplateElement};
use serde_json::Value;

use super::{Format, Parsed, helpers, inner_templates};

/// Each place that prints a value calls the printing helper, whose result is escaped; each look into a value calls the
/// helper that finds members.
pub(super) fn rewrite(template: &mut Parsed, format: Format) {
    for element in &mut template.elements {
        let taken = std::mem::replace(element, TemplateElement::RawString(String::new()));
        let raw = matches!(format, Format::Html | Format::Url) && matches!(taken, TemplateElement::HtmlExpression(_));
        *element = match taken {
            TemplateElement::Expression(call) | TemplateElement::HtmlExpression(call) => {
                let call = printed(*call);
                if raw { TemplateElement::HtmlExpression(call) } else { TemplateElement::Expression(call) }
            }
            TemplateElement::HelperBlock(block) if is_section(&block) => section(*block),
            other => other,
        };
        *element = match std::mem::replace(element, TemplateElement::RawString(String::new())) {
            TemplateElement::HelperBlock(mut block) => {
                // These go on with the place in the context, which a value that a helper found does not have.
                if !matches!(block.name.as_name(), Some("each" | "with")) {
                    find_members(&mut block);
                }
                TemplateElement::HelperBlock(block)
            }
            other => other,
        };
        for inner in inner_templates(element) {
            rewrite(inner, format);
        }
    }
}

/// `{{#x}}…{{/x}}` with a variable in the place of a helper.
fn is_section(block: &HelperTemplate) -> bool {
    let name = block.name.as_name().unwrap_or_default();
    block.params.is_empty() && block.hash.is_empty() && !helpers::NAMES.contains(&name)
}

/// A section goes through a list, is there once for what is true, and looks into anything else: as `each`, `if` and `with`.
fn section(block: HelperTemplate) -> TemplateElement {
    let variable = block.name.as_name().and_then(|name| Path::parse(name).ok()).map(Parameter::Path);
    let Some(variable) = variable else { return TemplateElement::HelperBlock(Box::new(block)) };
    let called = |name: &str, parameter: Parameter| {
        let mut block = block.clone();
        (block.name, block.params) = (Parameter::Name(name.to_owned()), vec![parameter]);
        block
    };
    let is = |helper: &str| {
        let helper = Parameter::Name(helper.to_owned());
        Parameter::Subexpression(Subexpression::new(helper, vec![variable.clone()], HashMap::new()))
    };
    let place = block.template.as_ref().and_then(|inner| inner.mapping.first().cloned());
    let alone = |block: HelperTemplate| {
        let mut template = Parsed::default();
        template.elements.push(TemplateElement::HelperBlock(Box::new(block)));
        // For the line of errors.
        template.mapping.extend(place.clone());
        Some(template)
    };
    let mut truth = called("if", is(helpers::IS_TRUE));
    truth.inverse = alone(called("with", variable.clone()));
    let mut list = called("if", is(helpers::IS_LIST));
    (list.template, list.inverse) = (alone(called("each", variable.clone())), alone(truth));
    TemplateElement::HelperBlock(Box::new(list))
}

/// `{{x}}` as `{{print x}}`, `{{helper x}}` as `{{print (helper x)}}`.
fn printed(mut call: HelperTemplate) -> Box<HelperTemplate> {
    find_members(&mut call);
    let shown = if call.params.is_empty() && call.hash.is_empty() {
        match call.name.clone() {
            // The grammar gives paths here; a name would be printed as nothing.
            Parameter::Name(name) => Path::parse(&name).map_or(Parameter::Name(name), Parameter::Path),
            other => other,
        }
    } else {
        let (params, hash) = (std::mem::take(&mut call.params), std::mem::take(&mut call.hash));
        Parameter::Subexpression(Subexpression::new(call.name.clone(), params, hash))
    };
    call.name = Parameter::Name(helpers::PRINT.to_owned());
    call.params = vec![member(shown)];
    Box::new(call)
}

/// Looks into values by the helper, in all parameters.
fn find_members(call: &mut HelperTemplate) {
    let params = call.params.iter_mut().chain(call.hash.values_mut());
    for parameter in params {
        let taken = std::mem::replace(parameter, Parameter::Literal(Value::Null));
        *parameter = member(taken);
    }
}

/// `a.b.c` as `(member a "b" "c")`, and so in subexpressions.
fn member(parameter: Parameter) -> Parameter {
    match parameter {
        Parameter::Subexpression(mut inner) => {
            if let TemplateElement::Expression(call) = inner.element.as_mut() {
                find_members(call);
            }
            Parameter::Subexpression(inner)
        }
        Parameter::Path(_) => {
            let found = parameter.as_name().and_then(|path| {
                let (mut of, mut names) = (path, Vec::new());
                while let Some((shorter, name)) = parts(of) {
                    of = shorter;
                    names.push(Parameter::Literal(name.into()));
                }
                names.push(Parameter::Path(Path::parse(of).ok()?));
                names.reverse();
                let helper = Parameter::Name(helpers::MEMBER.to_owned());
                (names.len() > 1).then(|| Parameter::Subexpression(Subexpression::new(helper, names, HashMap::new())))
            });
            found.unwrap_or(parameter)
        }
        other => other,
    }
}

/// A path without its last name, and that name. None where there is nothing to look into: `a`, `../a`, `@root.a`, and for
/// variables of loops, `@../index`.
fn parts(path: &str) -> Option<(&str, &str)> {
    let (of, name) = path.rsplit_once(['.', '/'])?;
    let is_name = !name.is_empty() && name != "this" && !name.contains(['[', ']', '@']);
    let is_value = !of.is_empty() && !of.ends_with(['.', '/']) && of != "@root";
    let is_of_facts = !of.starts_with('@') || of.starts_with("@root");
    (is_name && is_value && is_of_facts).then_some((of, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_at_the_last_name() {
        for (path, expected) in [
            ("a.b", Some(("a", "b"))),
            ("a.b.length", Some(("a.b", "length"))),
            ("../a.b", Some(("../a", "b"))),
            ("a/b", Some(("a", "b"))),
            ("@root.a.b", Some(("@root.a", "b"))),
            ("a.[0].b", Some(("a.[0]", "b"))),
            ("a", None),
            ("../a", None),
            ("this.length", Some(("this", "length"))),
            ("./a", None),
            ("@root.a", None),
            ("@../index", None),
            ("a.[b c]", None),
            ("a.[b.c]", None),
        ] {
            assert_eq!(parts(path), expected, "{path}");
        }
    }
}

//! Partials: only those that a template defines itself (`{{#*inline "name"}}`), and none that could include itself, since
//! nothing else would end that but the stack.

use handlebars::template::{Parameter, TemplateElement};
use serde_json::Value;

use super::Parsed;

/// The first partial that does not work: its line, and why.
pub(super) fn fault(template: &Parsed) -> Option<(usize, String)> {
    let mut names = Vec::new();
    define(template, &mut names);
    call(template, &names, false)
}

/// The names of what is defined.
fn define<'a>(template: &'a Parsed, names: &mut Vec<&'a str>) {
    for element in &template.elements {
        if let TemplateElement::DecoratorBlock(block) = element
            && let Some(Parameter::Literal(Value::String(name))) = block.params.first()
        {
            names.push(name);
        }
        inner(element).for_each(|inner| define(inner, names));
    }
}

fn call(template: &Parsed, names: &[&str], in_definition: bool) -> Option<(usize, String)> {
    template.elements.iter().enumerate().find_map(|(index, element)| {
        let line = template.mapping.get(index).map_or(1, |position| position.0);
        if let TemplateElement::PartialExpression(call) | TemplateElement::PartialBlock(call) = element {
            let name = call.name.as_name().unwrap_or("(…)");
            if in_definition {
                return Some((
                    line,
                    format!("the partial `{name}` is called within another one: write its text there"),
                ));
            }
            if !names.contains(&name) {
                return Some((line, format!("there is no partial `{name}`: write its text into the template")));
            }
        }
        let in_definition = in_definition || matches!(element, TemplateElement::DecoratorBlock(_));
        inner(element).find_map(|inner| call(inner, names, in_definition))
    })
}

/// The templates inside a block.
fn inner(element: &TemplateElement) -> impl Iterator<Item = &Parsed> {
    let (first, second) = match element {
        TemplateElement::HelperBlock(block) => (block.template.as_ref(), block.inverse.as_ref()),
        TemplateElement::DecoratorBlock(block) | TemplateElement::PartialBlock(block) => {
            (block.template.as_ref(), None)
        }
        _ => (None, None),
    };
    first.into_iter().chain(second)
}

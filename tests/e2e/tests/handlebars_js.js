// Renders templates with npm's `handlebars`: each line of the input is {template, context, escape} as JSON, each line of
// the output {text} or {error}. Butler's helpers are there in the form that the shipped templates need.
// Where the package libjs-handlebars has it, in one file.
const Handlebars = require("/usr/share/javascript/handlebars/handlebars.js");
if (!/^4\.7\./.test(Handlebars.VERSION)) throw new Error(`handlebars ${Handlebars.VERSION} and not 4.7`);

Handlebars.log = () => {};
const text = (value) =>
  value === undefined || value === null ? "" : Array.isArray(value) ? value.map(text).join(",") : String(value);
Handlebars.registerHelper("eq", function (a, b, options) {
  if (!options.fn) return a === b;
  return a === b ? options.fn(this) : options.inverse(this);
});
Handlebars.registerHelper("default", (a, b) => text(a) || text(b));
Handlebars.registerHelper("lines", (list) => (Array.isArray(list) ? list.map(text).join("\n") : text(list)));
Handlebars.registerHelper("number", (n) => text(n).replace(/\B(?=(\d{3})+$)/g, ","));

const compiled = new Map();
const compile = (template, noEscape) => {
  const key = noEscape + template;
  if (!compiled.has(key)) compiled.set(key, Handlebars.compile(template, { noEscape }));
  return compiled.get(key);
};

require("readline")
  .createInterface({ input: process.stdin })
  .on("line", (line) => {
    let answer;
    try {
      const { template, context, escape } = JSON.parse(line);
      answer = { text: compile(template, !escape)(context) };
    } catch (error) {
      answer = { error: String(error.message) };
    }
    console.log(JSON.stringify(answer));
  });

// SPDX-License-Identifier: Apache-2.0
//
// schema.mjs - as much of JSON Schema as the files of test/load/schema use; any other keyword is refused, so that none is ignored.
//
//    violations({ type: 'object', required: ['a'] }, {})       ['a: is missing']
import fs from 'node:fs';

const NOTES = new Set(['$id', '$schema', 'title', 'description', '$defs']);
const typeOf = v => (v === null ? 'null' : Array.isArray(v) ? 'array' : Number.isInteger(v) ? 'integer' : typeof v);
const isType = (type, v) => typeOf(v) === type || (type === 'number' && typeOf(v) === 'integer');
const below = (path, key) => (path === '' ? key : `${path}.${key}`);

export const loadSchema = name => JSON.parse(fs.readFileSync(new URL(`../schema/${name}`, import.meta.url)));

const rules = {
  type: (want, v) => [want].flat().some(t => isType(t, v)) || `is ${typeOf(v)}, ${[want].flat().join(' or ')} is needed`,
  enum: (want, v) => want.includes(v) || `is ${JSON.stringify(v)}, one of ${want.join(', ')} is needed`,
  const: (want, v) => v === want || `is ${JSON.stringify(v)}, ${JSON.stringify(want)} is needed`,
  minimum: (limit, v) => typeof v !== 'number' || v >= limit || `is ${v}, at least ${limit} is needed`,
  exclusiveMinimum: (limit, v) => typeof v !== 'number' || v > limit || `is ${v}, more than ${limit} is needed`,
  maximum: (limit, v) => typeof v !== 'number' || v <= limit || `is ${v}, at most ${limit} is allowed`,
  maxItems: (limit, v) => !Array.isArray(v) || v.length <= limit || `has ${v.length} items, at most ${limit} are allowed`,
  pattern: (text, v) => typeof v !== 'string' || new RegExp(text).test(v) || `does not match ${text}`,
};

function members(schema, value, path, root) {
  const found = [];
  for (const key of schema.required ?? []) if (!(key in value)) found.push(`${below(path, key)}: is missing`);
  for (const [key, member] of Object.entries(value)) {
    const known = schema.properties?.[key] ?? schema.additionalProperties;
    if (known === false || (known === undefined && schema.properties)) {
      if (known === false) found.push(`${below(path, key)}: is unknown`);
    } else if (typeof known === 'object') found.push(...violations(known, member, below(path, key), root));
  }
  return found;
}

/* What is wrong with value, a line each that starts with the field's path; empty = fine. */
export function violations(schema, value, path = '', root = schema) {
  if (schema.$ref) return violations(root.$defs[schema.$ref.slice('#/$defs/'.length)], value, path, root);
  const found = [];
  for (const [keyword, want] of Object.entries(schema)) {
    if (NOTES.has(keyword) || ['required', 'properties', 'additionalProperties', 'items'].includes(keyword)) continue;
    if (!rules[keyword]) throw new Error(`schema keyword ${keyword} is not understood`);
    const said = rules[keyword](want, value);
    if (said !== true) found.push(`${path || 'the document'}: ${said}`);
  }
  if (found.length) return found;
  if (typeOf(value) === 'object') found.push(...members(schema, value, path, root));
  if (Array.isArray(value) && schema.items) value.forEach((item, i) => found.push(...violations(schema.items, item, `${path}[${i}]`, root)));
  return found;
}

// Label selectors: which Nodes or Runtimes something may use. A selector is a list of requirements that must all hold; what is printed
// parses back to the same selector.

import { Failure } from '../lib/failure.ts';

export type Requirement =
  | { readonly key: string; readonly operator: 'in' | 'not-in'; readonly values: readonly string[] }
  | { readonly key: string; readonly operator: 'exists' | 'absent' };

export type Selector = readonly Requirement[];

export type Labels = Readonly<Record<string, string>>;

const KEY = /^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/u;
const VALUE = /^(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/u;
const SET = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/u;
const MAX_LENGTH = 4096;

export function isLabelKey(text: string): boolean {
  return KEY.test(text);
}

export function isLabelValue(text: string): boolean {
  return VALUE.test(text);
}

/** Throws `invalid_input` where a key or a value cannot be one; null stands for none. */
export function checkLabels(labels: Readonly<Record<string, string | null>>): void {
  for (const [key, value] of Object.entries(labels)) {
    if (!isLabelKey(key))
      throw new Failure('invalid_input', { message: `${JSON.stringify(key)} is not a valid label.`, hint: 'Letters, digits and . _ / -' });
    if (value !== null && !isLabelValue(value))
      throw new Failure('invalid_input', {
        message: `${JSON.stringify(value)} is not a valid value of the label ${key}.`,
        hint: 'Letters, digits and . _ -',
      });
  }
}

export type ParsedSelector =
  | { readonly ok: true; readonly selector: Selector }
  | { readonly ok: false; readonly message: string; readonly at: string };

/** Parses `disk=ssd,zone!=b,tier in (a,b),arch notin (arm64),gpu,!old`. Empty text selects everything. Never throws. */
export function parseSelector(text: string): ParsedSelector {
  if (text.length > MAX_LENGTH) return { ok: false, message: `A selector has at most ${MAX_LENGTH} characters.`, at: text.slice(0, 40) };
  const selector: Requirement[] = [];
  if (text.trim() === '') return { ok: true, selector };
  for (const part of splitOutsideParentheses(text)) {
    const requirement = parseRequirement(part.trim());
    if (requirement === null) {
      return {
        ok: false,
        message: 'Expected key, !key, key=value, key!=value, key in (a,b) or key notin (a,b).',
        at: part.trim(),
      };
    }
    selector.push(requirement);
  }
  return { ok: true, selector };
}

function splitOutsideParentheses(text: string): readonly string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let index = 0; index < text.length; index += 1) {
    const character = text[index];
    if (character === '(') depth += 1;
    else if (character === ')') depth -= 1;
    else if (character === ',' && depth === 0) {
      parts.push(text.slice(start, index));
      start = index + 1;
    }
  }
  parts.push(text.slice(start));
  return parts;
}

function parseRequirement(part: string): Requirement | null {
  if (part.startsWith('!')) return keyed(part.slice(1).trim(), (key) => ({ key, operator: 'absent' }));
  const set = SET.exec(part);
  if (set !== null) {
    const [, key = '', word, list = ''] = set;
    return withValues(
      key,
      word === 'in' ? 'in' : 'not-in',
      list.split(',').map((value) => value.trim()),
    );
  }
  const equality = /^([^=!\s]+)\s*(==|=|!=)\s*(\S*)$/u.exec(part);
  if (equality !== null) {
    const [, key = '', operator, value = ''] = equality;
    return withValues(key, operator === '!=' ? 'not-in' : 'in', [value]);
  }
  return keyed(part, (key) => ({ key, operator: 'exists' }));
}

function keyed(key: string, make: (key: string) => Requirement): Requirement | null {
  return isLabelKey(key) ? make(key) : null;
}

function withValues(key: string, operator: 'in' | 'not-in', values: readonly string[]): Requirement | null {
  if (!isLabelKey(key) || !values.every(isLabelValue)) return null;
  return { key, operator, values: [...new Set(values)].sort() };
}

/** Whether the labels meet every requirement. `not-in` and `absent` hold where the label is missing. */
export function matchesSelector(selector: Selector, labels: Labels): boolean {
  return selector.every((requirement) => {
    const value = Object.hasOwn(labels, requirement.key) ? labels[requirement.key] : undefined;
    const positive = requirement.operator === 'in' || requirement.operator === 'exists';
    const applies = value !== undefined && ('values' in requirement ? requirement.values.includes(value) : true);
    return positive === applies;
  });
}

/** The selector of plain labels: each must be there with that value. */
export function selectorOf(labels: Labels): Selector {
  return Object.entries(labels).map(([key, value]) => ({ key, operator: 'in', values: [value] }));
}

export function formatSelector(selector: Selector): string {
  return selector.map(formatRequirement).join(',');
}

function formatRequirement(requirement: Requirement): string {
  if (!('values' in requirement)) return requirement.operator === 'exists' ? requirement.key : `!${requirement.key}`;
  const positive = requirement.operator === 'in';
  const [only, ...more] = requirement.values;
  if (only !== undefined && more.length === 0) return `${requirement.key}${positive ? '=' : '!='}${only}`;
  return `${requirement.key} ${positive ? 'in' : 'notin'} (${requirement.values.join(',')})`;
}

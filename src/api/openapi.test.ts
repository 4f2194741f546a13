import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { openapi } from './openapi.ts';
import type { Json } from './openapi.ts';
import { table } from './table.ts';

const document = openapi(table, z, { version: '1.2.3' });

function isObject(value: Json | undefined): value is { readonly [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function at(value: Json | undefined, ...path: readonly string[]): Json | undefined {
  let current = value;
  for (const key of path) current = isObject(current) ? current[key] : undefined;
  return current;
}

function* objectsIn(value: Json): Generator<{ readonly [key: string]: Json }> {
  if (Array.isArray(value)) for (const child of value) yield* objectsIn(child);
  else if (isObject(value)) {
    yield value;
    for (const child of Object.values(value)) yield* objectsIn(child);
  }
}

const operations = Object.entries(table).flatMap(([noun, verbs]) =>
  Object.entries(verbs).map(([verb, endpoint]) => ({
    id: `${noun}.${verb}`,
    endpoint,
    operation: at(document, 'paths', endpoint.path, endpoint.method.toLowerCase()),
  })),
);

test('every endpoint has exactly one operation of its own', () => {
  const paths = at(document, 'paths');
  assert.ok(isObject(paths));
  const ids = Object.values(paths).flatMap((item) =>
    isObject(item) ? Object.values(item).map((operation) => at(operation, 'operationId')) : [],
  );
  assert.deepEqual(new Set(ids), new Set(operations.map(({ id }) => id)));
  assert.equal(new Set(ids).size, ids.length);
});

test('every reference leads somewhere inside the document', () => {
  let references = 0;
  for (const object of objectsIn(document)) {
    const reference = object['$ref'];
    if (typeof reference !== 'string') continue;
    references += 1;
    assert.match(reference, /^#\//u);
    assert.notEqual(at(document, ...reference.slice(2).split('/')), undefined, reference);
  }
  assert.ok(references > operations.length);
});

test('path parameters are declared, and no others', () => {
  for (const { id, endpoint, operation } of operations) {
    const parameters = at(operation, 'parameters');
    assert.ok(Array.isArray(parameters), id);
    const declared = parameters.filter((parameter: Json) => at(parameter, 'in') === 'path').map((parameter: Json) => at(parameter, 'name'));
    const used = [...endpoint.path.matchAll(/\{([^}]+)\}/gu)].map((match) => match[1]);
    assert.deepEqual(declared, used, id);
  }
});

test('every operation says permission, scope, success, and its problems', () => {
  for (const { id, endpoint, operation } of operations) {
    assert.equal(at(operation, 'x-permission'), endpoint.permission, id);
    assert.equal(at(operation, 'x-scope'), endpoint.scope, id);
    assert.ok(isObject(at(operation, 'responses', String(endpoint.status))), id);
    assert.ok(isObject(at(operation, 'responses', '500', 'content', 'application/problem+json')), id);
    assert.equal(isObject(at(operation, 'responses', '401')), endpoint.permission !== 'public', id);
  }
});

test('public input refuses unknown fields at every depth, internal input does not', () => {
  const body = at(document, 'paths', '/v1/apps/{app}/releases', 'post', 'requestBody', 'content', 'application/json', 'schema');
  assert.equal(at(body, 'additionalProperties'), false);
  assert.equal(at(body, 'properties', 'source', 'additionalProperties'), false);
});

test('query parameters are typed as what they become', () => {
  const parameters = at(document, 'paths', '/v1/apps', 'get', 'parameters');
  assert.ok(Array.isArray(parameters));
  const limit = parameters.find((parameter: Json) => at(parameter, 'name') === 'limit');
  assert.equal(at(limit, 'schema', 'type'), 'integer');
  assert.equal(at(limit, 'schema', 'maximum'), 500);
  assert.equal(at(limit, 'required'), false);
});

/** Tell values of an Environment, of which no name in their shape says so. */
const TELL_VALUES: ReadonlySet<string> = new Set(['sessions.values']);

test('every call whose reply tells a secret says so, so that the reply is not kept for a repeat', () => {
  const telling = operations.flatMap(({ id, endpoint }) => {
    const shape = endpoint.method === 'GET' ? null : endpoint.reply;
    const schema = shape === null ? '' : JSON.stringify(z.toJSONSchema(shape(z), { unrepresentable: 'any' }));
    const isTold = TELL_VALUES.has(id) || /"(?:token|credential|masterKey|password|secret|keyPem|storeLogin)":\{/u.test(schema);
    assert.equal(endpoint.tellsSecret, isTold, id);
    return isTold ? [id] : [];
  });
  assert.deepEqual(telling, [
    'sessions.create',
    'sessions.values',
    'invitations.create',
    'invitations.createControl',
    'machines.joinControl',
  ]);
});

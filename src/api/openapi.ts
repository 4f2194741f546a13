// OpenAPI 3.1 from the endpoint table: zod emits JSON Schema 2020-12, which is what OpenAPI 3.1 speaks. The caller brings zod, so that
// this file can be loaded without it.

import { FAILURE_CODES } from '../lib/failure.ts';
import type { FailureCode } from '../lib/failure.ts';
import type { Endpoint, EndpointTable, Z } from './endpoint.ts';
import { PROBLEM_TYPE } from './problem.ts';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
type JsonObject = { readonly [key: string]: Json };

/** Codes that every endpoint with a credential can answer with. */
const ALWAYS: readonly FailureCode[] = ['invalid_input', 'unauthenticated', 'forbidden', 'rate_limited', 'internal'];
const PUBLIC_ALWAYS: readonly FailureCode[] = ['invalid_input', 'forbidden', 'internal'];

/** The document of the whole table. */
export function openapi(table: EndpointTable, z: Z, info: { readonly version: string }): JsonObject {
  const strict: Z = { ...z, object: z.strictObject as unknown as Z['object'] }; // only `object` differs; public input refuses unknown keys
  const paths: Record<string, Record<string, Json>> = {};
  const tags: Json[] = [];
  for (const [noun, verbs] of Object.entries(table)) {
    tags.push({ name: noun });
    for (const [verb, endpoint] of Object.entries(verbs)) {
      const item = (paths[endpoint.path] ??= {});
      item[endpoint.method.toLowerCase()] = operation(noun, verb, endpoint, z, endpoint.internal ? z : strict);
    }
  }
  return {
    openapi: '3.1.0',
    jsonSchemaDialect: 'https://json-schema.org/draft/2020-12/schema',
    info: { title: 'Libra', version: info.version, license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } },
    tags,
    security: [{ token: [] }],
    paths,
    components: {
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
      schemas: { Problem: PROBLEM_SCHEMA },
    },
  };
}

const PROBLEM_SCHEMA: JsonObject = {
  type: 'object',
  description: 'RFC 9457. `code` tells problems apart; `hint` says what to do next.',
  required: ['type', 'title', 'status', 'code', 'detail', 'requestId'],
  properties: {
    type: { const: 'about:blank' },
    title: { type: 'string' },
    status: { type: 'integer' },
    code: { enum: Object.keys(FAILURE_CODES) },
    detail: { type: 'string' },
    hint: { type: 'string' },
    details: { type: 'object' },
    requestId: { type: 'string' },
  },
};

type Direction = 'input' | 'output';

function schemaOf(z: Z, shape: Endpoint['reply'], shapeZ: Z, io: Direction): JsonObject {
  if (shape === null) return {};
  const schema = z.toJSONSchema(shape(shapeZ), { target: 'draft-2020-12', io, unrepresentable: 'any', reused: 'inline' });
  const { $schema: _dialect, '~standard': _standard, ...rest } = schema as Record<string, Json>; // what zod emits is JSON
  return rest;
}

function operation(noun: string, verb: string, endpoint: Endpoint, z: Z, inputZ: Z): JsonObject {
  const isPublic = endpoint.permission === 'public';
  const write = endpoint.method !== 'GET' && endpoint.kind === 'json';
  return {
    operationId: `${noun}.${verb}`,
    tags: [noun],
    summary: endpoint.summary,
    'x-permission': endpoint.permission,
    'x-scope': endpoint.scope,
    'x-kind': endpoint.kind,
    ...(endpoint.internal ? { 'x-internal': true } : {}),
    ...(isPublic ? { security: [] } : {}),
    parameters: [
      ...pathParameters(endpoint.path),
      ...queryParameters(endpoint, z, inputZ),
      ...(write ? WRITE_HEADERS.filter(({ name }) => name !== 'If-Match' || !endpoint.comparesItself) : []),
      ...kindHeaders(endpoint),
    ],
    ...requestBody(endpoint, z, inputZ),
    responses: { [String(endpoint.status)]: success(endpoint, z), ...problems(endpoint, isPublic) },
  };
}

function pathParameters(path: string): readonly JsonObject[] {
  return [...path.matchAll(/\{([^}]+)\}/gu)].map((match) => ({
    name: match[1] ?? '',
    in: 'path',
    required: true,
    schema: { type: 'string', minLength: 1, maxLength: 200 },
  }));
}

function queryParameters(endpoint: Endpoint, z: Z, inputZ: Z): readonly JsonObject[] {
  const schema = schemaOf(z, endpoint.query, inputZ, 'input');
  const types = schemaOf(z, endpoint.query, inputZ, 'output'); // coerced values: the input alone would say "anything"
  const properties = (schema['properties'] ?? {}) as JsonObject; // JSON Schema of an object
  const outputs = (types['properties'] ?? {}) as JsonObject; // likewise
  const required = (schema['required'] ?? []) as readonly string[]; // likewise
  return Object.keys(properties).map((name) => ({ name, in: 'query', required: required.includes(name), schema: outputs[name] ?? {} }));
}

const WRITE_HEADERS: readonly JsonObject[] = [
  {
    name: 'Idempotency-Key',
    in: 'header',
    description: 'A repeat with the same key and the same request has one effect, and gets the same reply for 24 hours.',
    schema: { type: 'string', maxLength: 200 },
  },
  { name: 'If-Match', in: 'header', description: 'ETag of the GET of the same path.', schema: { type: 'string' } },
];

function kindHeaders(endpoint: Endpoint): readonly JsonObject[] {
  switch (endpoint.kind) {
    case 'sse':
      return [{ name: 'Last-Event-ID', in: 'header', description: 'Go on after this event.', schema: { type: 'string' } }];
    case 'download':
      return [{ name: 'Range', in: 'header', description: 'A single range of bytes.', schema: { type: 'string' } }];
    case 'json':
    case 'upload':
    case 'socket':
      return [];
  }
}

function requestBody(endpoint: Endpoint, z: Z, inputZ: Z): JsonObject {
  if (endpoint.kind === 'upload') return { requestBody: { required: true, content: { 'application/octet-stream': {} } } };
  if (endpoint.body === null) return {};
  return { requestBody: { required: true, content: { 'application/json': { schema: schemaOf(z, endpoint.body, inputZ, 'input') } } } };
}

function success(endpoint: Endpoint, z: Z): JsonObject {
  const schema = schemaOf(z, endpoint.reply, z, 'output');
  switch (endpoint.kind) {
    case 'sse':
      return {
        description: 'Events; `data` of each is a JSON value of this schema. Ends with `event: end`, or `event: problem`.',
        content: { 'text/event-stream': { schema } },
      };
    case 'download':
      return { description: 'The bytes.', content: { 'application/octet-stream': {} } };
    case 'socket':
      return { description: 'A WebSocket.' };
    case 'json':
    case 'upload':
      return endpoint.reply === null ? { description: 'Done.' } : { description: 'Done.', content: { 'application/json': { schema } } };
  }
}

function problems(endpoint: Endpoint, isPublic: boolean): JsonObject {
  const byStatus = new Map<number, string[]>();
  for (const code of new Set([...(isPublic ? PUBLIC_ALWAYS : ALWAYS), ...endpoint.errors])) {
    const { status } = FAILURE_CODES[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return Object.fromEntries(
    [...byStatus].map(([status, codes]) => [
      String(status),
      { description: codes.join(', '), content: { [PROBLEM_TYPE]: { schema: { $ref: '#/components/schemas/Problem' } } } },
    ]),
  );
}

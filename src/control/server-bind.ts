// Joins each endpoint of the table with its handler and its compiled shapes. Public shapes are made with a strict zod, so that unknown
// fields are refused at every depth; internal ones ignore them (invariant 11). Replies drop whatever their shape does not name.

import { z } from 'zod';
import { Failure } from '../lib/failure.ts';
import type { Endpoint, EndpointTable, Shape, Z } from '../api/endpoint.ts';
import type { Call, HandlersOf } from './handler.ts';
import type { WebSocket } from 'ws';

/** zod whose plain objects refuse unknown keys. */
// Only `object` differs, and a strict object is what the shapes' own types describe.
const strictZod: Z = { ...z, object: z.strictObject as unknown as Z['object'] };

export type AnyCall = Call<Endpoint>;
/** A handler without the types of its endpoint: the table has made sure that they fit. */
export interface AnyHandler {
  (call: AnyCall, socket?: WebSocket): unknown;
  readonly check?: (call: AnyCall) => void | Promise<void>;
}

export interface Bound {
  /** `<noun>.<verb>`. */
  readonly name: string;
  readonly endpoint: Endpoint;
  readonly handler: AnyHandler;
  /** The GET of the same path, for If-Match. */
  twin: Bound | null;
  parseQuery(value: unknown): unknown;
  parseBody(value: unknown): unknown;
  /** Throws `internal` where the handler answered with something else than its contract says. */
  parseReply(value: unknown): unknown;
}

export function bindTable<T extends EndpointTable>(table: T, handlers: HandlersOf<T>): readonly Bound[] {
  const all: Bound[] = [];
  for (const [noun, verbs] of Object.entries(table)) {
    // HandlersOf has a function for each verb of the table.
    const nounHandlers = (handlers as unknown as Readonly<Record<string, Readonly<Record<string, AnyHandler>>>>)[noun];
    for (const [verb, endpoint] of Object.entries(verbs)) {
      const handler = nounHandlers?.[verb];
      if (handler === undefined) throw new Failure('internal', { message: `No handler for the endpoint ${noun}.${verb}.` });
      all.push(bindOne(`${noun}.${verb}`, endpoint, handler));
    }
  }
  for (const bound of all) {
    if (bound.endpoint.method === 'GET' || bound.endpoint.comparesItself) continue;
    bound.twin =
      all.find(({ endpoint }) => endpoint.method === 'GET' && endpoint.kind === 'json' && endpoint.path === bound.endpoint.path) ?? null;
  }
  return all;
}

function bindOne(name: string, endpoint: Endpoint, handler: AnyHandler): Bound {
  const input = endpoint.internal ? z : strictZod;
  const query = lazily(endpoint.query, input);
  const body = lazily(endpoint.body, input);
  const reply = lazily(endpoint.reply, z);
  return {
    name,
    endpoint,
    handler,
    twin: null,
    parseQuery: (value) => (query === null ? nothing(value, 'query', endpoint.internal) : parseInput(query(), value, 'query')),
    parseBody: (value) => (body === null ? nothing(value, 'body', endpoint.internal) : parseInput(body(), value, 'body')),
    parseReply: (value) => {
      if (reply === null) return undefined;
      const parsed = reply().safeParse(value);
      if (parsed.success) return parsed.data;
      throw new Failure('internal', {
        message: 'Something unexpected went wrong inside Libra.',
        cause: new Error(`the reply of ${name} breaks its contract: ${describeIssues(parsed.error.issues, 'reply').join('; ')}`),
      });
    },
  };
}

/** Compiled at first use: most endpoints are never called. */
function lazily(shape: Shape | null, zod: Z): (() => z.ZodType) | null {
  if (shape === null) return null;
  let made: z.ZodType | null = null;
  return () => (made ??= shape(zod));
}

function nothing(value: unknown, where: string, internal: boolean): undefined {
  if (internal || value === undefined || value === null) return undefined;
  const keys = typeof value === 'object' ? Object.keys(value) : ['a value'];
  if (keys.length === 0) return undefined;
  throw new Failure('invalid_input', { message: `This endpoint takes no ${where}, but got: ${keys.slice(0, 10).join(', ')}.` });
}

function parseInput(shape: z.ZodType, value: unknown, where: 'query' | 'body'): unknown {
  const parsed = shape.safeParse(value);
  if (parsed.success) return parsed.data;
  const lines = describeIssues(parsed.error.issues, where);
  throw new Failure('invalid_input', {
    message: lines.join('; '),
    details: { issues: parsed.error.issues.slice(0, 50).map((issue) => ({ path: pathText(where, issue.path), message: issue.message })) },
  });
}

function pathText(where: string, path: readonly PropertyKey[]): string {
  return [where, ...path.map(String)].join('.');
}

function describeIssues(issues: readonly z.core.$ZodIssue[], where: string): readonly string[] {
  const lines = issues.slice(0, 10).map((issue) => `${pathText(where, issue.path)}: ${issue.message}`);
  return issues.length > 10 ? [...lines, `and ${issues.length - 10} more`] : lines;
}

/** Path parameters are free text but for what would break a path or a log; digests become file names, so they must be digests. */
export function checkParams(params: unknown): Readonly<Record<string, string>> {
  const checked: Record<string, string> = {};
  for (const [name, value] of Object.entries(params ?? {})) {
    // oxlint-disable-next-line no-control-regex -- control characters are exactly what is refused
    const broken = typeof value !== 'string' || value === '' || value.length > 200 || /[\u0000-\u001f\u007f/\\]/u.test(value);
    if (broken || (name === 'digest' && !/^sha256:[0-9a-f]{64}$/u.test(value))) {
      const expected = name === 'digest' ? 'sha256: and 64 hex digits' : '1 to 200 characters without slashes and control characters';
      throw new Failure('invalid_input', { message: `The path parameter ${name} must be ${expected}.` });
    }
    checked[name] = value;
  }
  return checked;
}

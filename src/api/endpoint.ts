// What an endpoint is. The tables in endpoints/ are the one source of server binding, typed client, OpenAPI, permission matrix and
// the walk over every route. Shapes are functions of `z`, so that a client has their types without loading zod.

import type { z } from 'zod';
import type { FailureCode } from '../lib/failure.ts';

export type Z = typeof z;
/** A shape, given zod. Only the server calls it. */
export type Shape<T extends z.ZodType = z.ZodType> = (z: Z) => T;

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'HEAD';

/** What a principal may be allowed to do; roles are sets of these. `public` needs no credential. */
export const PERMISSIONS = [
  'public',
  'platform.read',
  'platform.admin',
  'apps.read',
  'apps.create',
  'apps.delete',
  'releases.create',
  'blobs.read',
  'blobs.write',
  'deployments.create',
  'scale',
  'config.read',
  'config.write',
  'logs.read',
  'exec',
  'dev.sessions',
  'dev.values',
  'nodes.read',
  'nodes.write',
  'events.read',
  'agent.sync',
  'dataplane.sync',
  'machine.renew',
  // Services of Librad for Apps, each named as in `uses` of a manifest. Of Instances alone: they act on the caller's own Environment.
  'librad.kv',
  'librad.locks',
  'librad.config',
  'librad.discovery',
] as const;
export type Permission = (typeof PERMISSIONS)[number];

/** What the permission is asked on. `app` and `environment` are found from the path parameters. */
export type Scope = 'none' | 'platform' | 'app' | 'environment' | 'node';

export type PathParams<Path extends string> = Path extends `${string}{${infer Name}}${infer Rest}`
  ? { readonly [K in Name]: string } & PathParams<Rest>
  : unknown;

/**
 * json: body and reply are JSON. sse: the reply is a stream of events, each `data` a JSON value of `reply`, with a resumable id.
 * upload / download: the body or reply is raw bytes. socket: a WebSocket upgrade.
 */
export type EndpointKind = 'json' | 'sse' | 'upload' | 'download' | 'socket';

export interface Endpoint<
  Path extends string = string,
  Query extends z.ZodType = z.ZodType,
  Body extends z.ZodType = z.ZodType,
  Reply extends z.ZodType = z.ZodType,
  Kind extends EndpointKind = EndpointKind,
> {
  readonly method: Method;
  readonly path: Path;
  readonly kind: Kind;
  readonly summary: string;
  readonly permission: Permission;
  readonly scope: Scope;
  readonly query: Shape<Query> | null;
  readonly body: Shape<Body> | null;
  readonly reply: Shape<Reply> | null;
  /** Codes that it can answer with besides invalid_input, unauthenticated, forbidden, rate_limited, internal. */
  readonly errors: readonly FailureCode[];
  /** Status of success. */
  readonly status: 200 | 201 | 202 | 204 | 101;
  /** Limit of a JSON body in bytes. */
  readonly bodyLimitBytes: number;
  /** Internal contracts ignore unknown fields, public ones refuse them (invariant 11). */
  readonly internal: boolean;
  /** The reply holds a secret: it is kept nowhere, not even for a repeat of the call. */
  readonly tellsSecret: boolean;
  /** Its handler compares versions in the commit itself; If-Match, which is compared before, is refused. */
  readonly comparesItself: boolean;
}

interface Definition<Path extends string, Query extends z.ZodType, Body extends z.ZodType, Reply extends z.ZodType> {
  readonly method: Method;
  readonly path: Path;
  readonly summary: string;
  readonly permission: Permission;
  readonly scope: Scope;
  readonly query?: Shape<Query>;
  readonly body?: Shape<Body>;
  readonly reply?: Shape<Reply>;
  readonly errors?: readonly FailureCode[];
  readonly status?: 200 | 201 | 202 | 204 | 101;
  readonly bodyLimitBytes?: number;
  readonly internal?: boolean;
  readonly tellsSecret?: boolean;
  readonly comparesItself?: boolean;
}

/** Types of an endpoint without query, body or reply. */
type None = z.ZodUndefined;

export function endpoint<
  const Path extends string,
  Query extends z.ZodType = None,
  Body extends z.ZodType = None,
  Reply extends z.ZodType = None,
  const Kind extends EndpointKind = 'json',
>(definition: Definition<Path, Query, Body, Reply> & { readonly kind?: Kind }): Endpoint<Path, Query, Body, Reply, Kind> {
  return {
    method: definition.method,
    path: definition.path,
    // The default parameter of Kind is 'json', so absent means exactly that.
    kind: definition.kind ?? ('json' as Kind),
    summary: definition.summary,
    permission: definition.permission,
    scope: definition.scope,
    query: definition.query ?? null,
    body: definition.body ?? null,
    reply: definition.reply ?? null,
    errors: definition.errors ?? [],
    status: definition.status ?? 200,
    bodyLimitBytes: definition.bodyLimitBytes ?? 64 * 1024,
    internal: definition.internal ?? false,
    tellsSecret: definition.tellsSecret ?? false,
    comparesItself: definition.comparesItself ?? false,
  };
}

export type EndpointTable = Readonly<Record<string, Readonly<Record<string, Endpoint>>>>;

export type BodyOf<E> = E extends Endpoint<string, z.ZodType, infer Body> ? z.input<Body> : never;
export type ReplyOf<E> = E extends Endpoint<string, z.ZodType, z.ZodType, infer Reply> ? z.output<Reply> : never;
export type ParsedQueryOf<E> = E extends Endpoint<string, infer Query> ? z.output<Query> : never;
export type ParsedBodyOf<E> = E extends Endpoint<string, z.ZodType, infer Body> ? z.output<Body> : never;
export type ParamsOf<E> = E extends { readonly path: infer Path extends string } ? PathParams<Path> : never;

/** A page of a list: `next` is the opaque cursor for the following page, null at the end. */
export const page = <T extends z.ZodType>(z: Z, item: T): z.ZodObject<{ items: z.ZodArray<T>; next: z.ZodNullable<z.ZodString> }> =>
  z.object({ items: z.array(item), next: z.string().nullable() });

/** Query of every list. */
export const pageQuery = (z: Z): z.ZodObject<{ limit: z.ZodDefault<z.ZodCoercedNumber>; cursor: z.ZodOptional<z.ZodString> }> =>
  z.object({ limit: z.coerce.number().int().min(1).max(500).default(100), cursor: z.string().max(500).optional() });

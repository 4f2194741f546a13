// What a module gives to the server: functions by endpoint. They get parsed input and an authorised principal, and throw Failures.

import type { Readable } from 'node:stream';
import type { WebSocket } from 'ws';
import type { BodyOf, Endpoint, EndpointKind, ParamsOf, ParsedBodyOf, ParsedQueryOf, Permission, ReplyOf } from '../api/endpoint.ts';
import type { z } from 'zod';

export type Principal =
  | { readonly kind: 'owner'; readonly name: string; readonly permissions: ReadonlySet<Permission> }
  | { readonly kind: 'node'; readonly nodeId: string; readonly name: string; readonly permissions: ReadonlySet<Permission> }
  | { readonly kind: 'edge'; readonly nodeId: string; readonly name: string; readonly permissions: ReadonlySet<Permission> }
  | { readonly kind: 'anonymous'; readonly name: string; readonly permissions: ReadonlySet<Permission> };

export interface Call<E> {
  readonly params: ParamsOf<E>;
  readonly query: ParsedQueryOf<E>;
  readonly body: ParsedBodyOf<E>;
  readonly principal: Principal;
  readonly requestId: string;
  /** Aborts when the client has gone or the server stops. */
  readonly signal: AbortSignal;
  /** SSE: the id after which a reconnecting client wants to go on. */
  readonly lastEventId: string | null;
  /** Upload: the body. */
  readonly stream: Readable | null;
  /** Download: the asked-for byte range. */
  readonly range: { readonly start: number; readonly end: number | undefined } | null;
}

/** `id` null: not resumable from here (pings). */
export interface StreamItem<T> {
  readonly id: string | null;
  readonly data: T;
}

export interface Download {
  readonly body: Readable;
  readonly sizeBytes: number;
}

type Result<E> =
  E extends Endpoint<string, z.ZodType, z.ZodType, z.ZodType, infer Kind>
    ? Kind extends 'sse'
      ? AsyncIterable<StreamItem<ReplyOf<E>>>
      : Kind extends 'download'
        ? Promise<Download>
        : Kind extends 'socket'
          ? Promise<void>
          : Promise<ReplyOf<E>>
    : never;

/** A socket handler gets the accepted WebSocket; its promise ends the call. Failures before the upgrade: throw in `check`. */
export type Handler<E> =
  E extends Endpoint<string, z.ZodType, z.ZodType, z.ZodType, infer Kind>
    ? Kind extends 'socket'
      ? (call: Call<E>, socket: WebSocket) => Promise<void>
      : (call: Call<E>) => Result<E>
    : never;

/** Handlers of some nouns: every verb of each must be there. */
export type NounHandlers<Verbs> = { readonly [V in keyof Verbs]: Handler<Verbs[V]> };

export type { BodyOf, EndpointKind };

// What a module gives to the server: functions by endpoint. They get parsed input and an authorised principal, and throw Failures.

import type { Readable } from 'node:stream';
import type { WebSocket } from 'ws';
import type { Endpoint, ParamsOf, ParsedBodyOf, ParsedQueryOf, Permission, ReplyOf } from '../api/endpoint.ts';
import type { z } from 'zod';

export type Principal =
  | { readonly kind: 'owner'; readonly name: string; readonly permissions: ReadonlySet<Permission> }
  | { readonly kind: 'node'; readonly nodeId: string; readonly name: string; readonly permissions: ReadonlySet<Permission> }
  | { readonly kind: 'edge'; readonly nodeId: string; readonly name: string; readonly permissions: ReadonlySet<Permission> }
  /** A running Instance that came with its token. It acts on its own Environment. */
  | {
      readonly kind: 'instance';
      readonly name: string;
      readonly instanceId: string;
      readonly environmentId: string;
      readonly appId: string;
      readonly entrypoint: string;
      readonly nodeId: string;
      /** Of the Services of Librad, those that its App says to use. */
      readonly permissions: ReadonlySet<Permission>;
    }
  | { readonly kind: 'anonymous'; readonly name: string; readonly permissions: ReadonlySet<Permission> };

/** Who a machine says to be, and with which key it has shown that. */
export interface MachineClaim {
  /** null: no machine. */
  readonly nodeId: string | null;
  /** SHA-256 of the public key, in hex. */
  readonly key: string;
}

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
  /**
   * UUIDv7 for the record that this call makes. Every repeat of the same idempotent request gets the same one, also after librad was
   * killed between the commit and the reply: a handler that creates with it, and answers with the existing record where there is one
   * already, never makes two. Absent without an Idempotency-Key.
   */
  readonly recordId?: string;
}

/** `id` null: not resumable from here (pings). */
export interface StreamItem<T> {
  readonly id: string | null;
  readonly data: T;
}

export interface Download {
  /** The asked-for range, or all. */
  readonly body: Readable;
  /** Size of the whole object. */
  readonly sizeBytes: number;
}

/** A socket handler gets the accepted WebSocket; its promise ends the call. What `check` throws is answered before the upgrade. */
export interface SocketHandler<E> {
  (call: Call<E>, socket: WebSocket): Promise<void>;
  readonly check?: (call: Call<E>) => void | Promise<void>;
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

export type Handler<E> =
  E extends Endpoint<string, z.ZodType, z.ZodType, z.ZodType, infer Kind>
    ? Kind extends 'socket'
      ? SocketHandler<E>
      : (call: Call<E>) => Result<E>
    : never;

/** Handlers of some nouns: every verb of each must be there. */
export type NounHandlers<Verbs> = { readonly [V in keyof Verbs]: Handler<Verbs[V]> };

/** Handlers of a whole table. */
export type HandlersOf<T> = { readonly [N in keyof T]: NounHandlers<T[N]> };

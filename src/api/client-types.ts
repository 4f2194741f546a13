// What a client of a table looks like, inferred from the table: no code generation, and nothing of zod at run time.

import type { z } from 'zod';
import type { BodyOf, Endpoint, EndpointTable, ParamsOf, ReplyOf } from './endpoint.ts';

/** Raw bytes of an upload. */
export type UploadBody = Uint8Array | ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>;

export interface DownloadReply {
  /** 206 where a range was asked for and given. */
  readonly status: number;
  /** Bytes to come, null where the server did not say. */
  readonly sizeBytes: number | null;
  /** Must be read to the end or canceled. */
  readonly body: ReadableStream<Uint8Array>;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** Deadline of the whole call, retries included; for uploads, downloads and streams the longest silence. Milliseconds. */
  readonly timeoutMs?: number | undefined;
  /** Makes a write safe to repeat: equal key, equal request, one effect. */
  readonly idempotencyKey?: string | undefined;
  /** ETag of what the caller has read; the write is refused where it is no longer current. */
  readonly ifMatch?: string | undefined;
}

export interface StreamOptions {
  readonly signal?: AbortSignal | undefined;
  /** Go on after the event with this id. */
  readonly lastEventId?: string | undefined;
  /** Called before each new attempt, with why the last one ended. */
  readonly onReconnect?: ((attempt: number, why: Error) => void) | undefined;
  /** Called with the id of each event before its data is handed out. */
  readonly onId?: ((id: string) => void) | undefined;
  /** Fails when nothing has answered for so long, milliseconds; default 60,000. Infinity: tries forever, from the first attempt on. */
  readonly giveUpAfterMs?: number | undefined;
}

/** Optional where the input shape has a default, typed as the server will see it: numbers and booleans instead of text. */
type QueryArgs<In, Out> = { readonly [K in keyof In]: K extends keyof Out ? Out[K] : never };
type ClientQuery<E> = E extends Endpoint<string, infer Query> ? QueryArgs<z.input<Query>, z.output<Query>> : never;

/** Whether nothing in it must be given. */
type IsOptional<T> = Partial<T> extends T ? true : false;
type ParamsPart<E> = unknown extends ParamsOf<E> ? { readonly params?: undefined } : { readonly params: ParamsOf<E> };
type QueryPart<E> =
  E extends Endpoint<string, infer Query>
    ? undefined extends z.input<Query>
      ? { readonly query?: undefined }
      : IsOptional<ClientQuery<E>> extends true
        ? { readonly query?: ClientQuery<E> }
        : { readonly query: ClientQuery<E> }
    : never;
type BodyPart<E> = [BodyOf<E>] extends [undefined]
  ? { readonly body?: undefined }
  : IsOptional<BodyOf<E>> extends true
    ? { readonly body?: BodyOf<E> }
    : { readonly body: BodyOf<E> };

type Input<E> = ParamsPart<E> & QueryPart<E>;
type Arguments<T> = IsOptional<T> extends true ? [input?: T] : [input: T];
type KindOf<E> = E extends Endpoint<string, z.ZodType, z.ZodType, z.ZodType, infer Kind> ? Kind : never;

/** The function of one endpoint. */
export type ClientCall<E> =
  KindOf<E> extends 'sse'
    ? (...args: Arguments<Input<E> & StreamOptions>) => AsyncIterable<ReplyOf<E>>
    : KindOf<E> extends 'download'
      ? (
          ...args: Arguments<
            Input<E> & CallOptions & { readonly range?: { readonly start: number; readonly end?: number | undefined } | undefined }
          >
        ) => Promise<DownloadReply>
      : KindOf<E> extends 'upload'
        ? (input: Input<E> & CallOptions & { readonly body: UploadBody }) => Promise<ReplyOf<E>>
        : (...args: Arguments<Input<E> & BodyPart<E> & CallOptions>) => Promise<ReplyOf<E>>;

/** Noun → verb → function. Sockets are left out: open them on `socketUrl`. */
export type Client<T extends EndpointTable> = {
  readonly [N in keyof T]: { readonly [V in keyof T[N] as KindOf<T[N][V]> extends 'socket' ? never : V]: ClientCall<T[N][V]> };
};

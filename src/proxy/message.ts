// One exchange as the proxy sees it, whatever protocol each side speaks: HTTP/1.1 or HTTP/2 in front, HTTP/1.1 or h2c behind. The two
// sides never meet: forward.ts stands between them, holds a ClientStream and an UpstreamStream, and listens to both.
// Calls are synchronous and may come from inside each other; nothing is called on a side after it has said that it is over.

import type { Target } from './dial.ts';
import type { Fields } from './fields.ts';

/** Length of a body that ends by its framing: chunked, END_STREAM, or the end of the connection. */
export const UNKNOWN_LENGTH = -1;

/** Between a developer's laptop and the platform. */
export const OWN_PROTOCOL = 'libra-dev';

export interface ConnectionFacts {
  /** Of the peer, plain (no IPv4-mapped form). Behind PROXY protocol: what its header says. */
  readonly address: string;
  readonly port: number;
  readonly scheme: 'http' | 'https';
  /** Null without TLS. */
  readonly tls: TlsFacts | null;
}

export interface TlsFacts {
  readonly version: string;
  readonly serverName: string | null;
  /** The authorities (PEM) of which the client was asked for a certificate; null: it was not asked. */
  readonly asked: string | null;
  /** What it has shown then; null: nothing. */
  readonly client: ClientCertificate | null;
}

export interface ClientCertificate {
  /** Why it does not count, such as that it has expired; null: it counts. */
  readonly problem: string | null;
  /** As RFC 4514 writes it, or nearly: `CN=alice,O=shop`. */
  readonly subject: string;
  /** DER. */
  readonly raw: Buffer;
}

export interface RequestHead {
  readonly version: '1.0' | '1.1' | '2';
  readonly method: string;
  /** As it came: origin-form, absolute-form or `*`; for HTTP/2 the :path. */
  readonly target: string;
  /** The Host field or :authority as it came; '' where absolute-form and HTTP/1.0 leave it out. */
  readonly host: string;
  /** End-to-end fields and `origin` ones; without host, framing and hop-by-hop. */
  readonly fields: Fields;
  /** Bytes of the body, 0 for none, or UNKNOWN_LENGTH. */
  readonly length: number;
  /** RFC 6455 by Upgrade, or RFC 8441 by Extended CONNECT (then `method` is GET here). */
  readonly upgrade: 'websocket' | null;
  /** Asked for by Upgrade (RFC 9110 §7.8): spoken with the proxy itself, and forwarded to nobody. Absent: nothing. */
  readonly ownProtocol?: typeof OWN_PROTOCOL | undefined;
  readonly expectsContinue: boolean;
  /** The client says that it reads trailers (TE: trailers; always true for HTTP/2). */
  readonly takesTrailers: boolean;
}

/** Gets what the client sends behind its head. */
export interface BodySink {
  onBody(chunk: Buffer): void;
  /** The body is over; trailers where there were any. In an upgraded stream: the client has ended its direction. */
  onBodyEnd(trailers: Fields | null): void;
}

/** Hears of the client's side. */
export interface ClientObserver extends BodySink {
  /** After a send that returned false: there is room again. */
  onClientDrain(): void;
  /** The client is gone or its message broke off. Nothing can be sent any more. Called at most once, never after the end of the answer. */
  onClientGone(): void;
}

export interface AnswerHead {
  readonly status: number;
  /** May be empty. */
  readonly reason: string;
  /** End-to-end fields, without framing and hop-by-hop. */
  readonly fields: Fields;
  /**
   * Bytes of the body, or UNKNOWN_LENGTH. For an answer to HEAD and for 304: what Content-Length said, or UNKNOWN_LENGTH where it said
   * nothing; `sendEnd` follows without data.
   */
  readonly length: number;
  /** What 101 switches to; absent: websocket. */
  readonly protocol?: typeof OWN_PROTOCOL;
}

/** The client's side of one exchange. */
export interface ClientStream {
  readonly head: RequestHead;
  readonly connection: ConnectionFacts;
  /** All of the request body has been handed on. */
  readonly bodyEnded: boolean;
  /** More of the body is there or may come, and readBody(false) holds it back. */
  readonly bodyStopped: boolean;
  /** Who hears of this exchange. Set before anything else is called. */
  observe(observer: ClientObserver): void;
  /** Delivers the body from where it stands; false stops it again. Nothing is delivered before the first call. */
  readBody(wanted: boolean): void;
  /** 100 Continue, for a client that waits for it; no-op for another. */
  sendContinue(): void;
  /** 103 and its like, never 100 or 101. */
  sendInformational(status: number, fields: Fields): void;
  /**
   * The head of the answer. With status 101 to an upgrade request both directions are bytes from then on. `close`: the connection shall
   * not be used again.
   */
  sendHead(head: AnswerHead, close: boolean): void;
  /** The chunk may stand in memory that is used again afterwards. False: wait for onClientDrain before more. */
  sendData(chunk: Buffer): boolean;
  /** The answer (or this direction of an upgraded stream) is over. */
  sendEnd(trailers: Fields | null): void;
  /** What was sent so far leaves now; without it, pieces that follow each other at once leave together. */
  flush(): void;
  /** Breaks off, so that the client cannot take a part for the whole: a reset, or RST_STREAM. */
  abort(): void;
}

export interface UpstreamRequest {
  readonly method: string;
  /** Canonical path with query. */
  readonly path: string;
  /** Value of Host or :authority. */
  readonly authority: string;
  readonly scheme: 'http' | 'https';
  /** Crosses, but for `origin` fields: those are replaced by `origin`. */
  readonly fields: Fields;
  /** X-Forwarded-*, X-Request-Id, traceparent …: said by the proxy alone. */
  readonly origin: Fields;
  readonly length: number;
  readonly upgrade: 'websocket' | null;
  readonly expectsContinue: boolean;
  readonly takesTrailers: boolean;
}

/** Hears of the target's side. */
export interface UpstreamObserver {
  onUpstreamContinue(): void;
  onUpstreamInformational(status: number, fields: Fields): void;
  /** With status 101 to an upgrade request both directions are bytes from then on. */
  onUpstreamHead(head: AnswerHead): void;
  /** Perhaps in memory that is used again as soon as the call is over. */
  onUpstreamData(chunk: Buffer): void;
  /** Behind the pieces that came by one read: what is held back for company may leave now. */
  onUpstreamPause(): void;
  /** The answer (or this direction of an upgraded stream) is over. */
  onUpstreamEnd(trailers: Fields | null): void;
  onUpstreamDrain(): void;
  /** Instead of onUpstreamEnd, once. */
  onUpstreamFailed(failure: UpstreamFailure): void;
}

export interface UpstreamFailure {
  /** invalid: the answer is not valid HTTP. reset: the connection broke. refused: the target says that it has not begun (REFUSED_STREAM). */
  readonly kind: 'reset' | 'invalid' | 'refused';
  /** Something of the request may have reached the target. */
  readonly sent: boolean;
  /** The connection had served another request before. */
  readonly reused: boolean;
  readonly message: string;
}

/** The target's side of one exchange. */
export interface UpstreamStream {
  sendHead(request: UpstreamRequest): void;
  /** False: wait for onUpstreamDrain before more. */
  sendData(chunk: Buffer): boolean;
  sendEnd(trailers: Fields | null): void;
  /** What was sent so far leaves now. */
  flush(): void;
  /** Stops and goes on with reading the answer. */
  readAnswer(wanted: boolean): void;
  /** Gives the exchange up: the connection is closed, or the stream is reset. Nothing is heard of it any more. */
  abort(): void;
}

/** Waits for a stream to a target. Exactly one of the two is called, perhaps before `open` returns. */
export interface Opening {
  onOpened(stream: UpstreamStream): void;
  /** No connection came about: nothing was sent. */
  onOpenFailed(message: string): void;
}

/** Opens streams to targets over kept or new connections. */
export interface Upstreams {
  /** `alone`: on a connection that nobody shares, for upgrades. The observer hears of the stream once it is opened. */
  open(target: Target, alone: boolean, observer: UpstreamObserver, opening: Opening): { cancel(): void } | null;
}

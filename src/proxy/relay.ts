// An answer on its way from the target to the client: head, body with back-pressure, trailers. It ends whole, or by a reset of the
// client's connection, so that a part is never taken for the whole.

import type { IncomingMessage } from 'node:http';
import type { Deadline } from './deadlines.ts';
import type { Exchange } from './exchange.ts';
import { clientHeaders, trailerPairs } from './headers.ts';
import type { ProxyLimits } from './limits.ts';

export type RelayResult =
  | { readonly type: 'whole'; readonly status: number }
  /** Nothing was sent to the client. */
  | { readonly type: 'unusable'; readonly message: string }
  | { readonly type: 'cut'; readonly status: number; readonly message: string };

export interface Relay {
  /** Ends it early: an event stream cleanly, since its reader comes back by itself; anything else by a reset. */
  end(reason: string): void;
}

export interface RelayOptions {
  readonly exchange: Exchange;
  readonly answer: IncomingMessage;
  readonly limits: ProxyLimits;
  readonly deadline: Deadline;
  /** Called once. */
  readonly onResult: (result: RelayResult) => void;
}

export function relayAnswer(options: RelayOptions): Relay {
  const { exchange, answer, limits, deadline } = options;
  const { response, facts } = exchange;
  // Held here: a connection that is kept alive leaves its answer before the end event.
  const connection = answer.socket;
  const status = answer.statusCode ?? 502;
  let wrote = false;
  let over = false;

  const finish = (result: RelayResult): void => {
    if (over) return;
    over = true;
    response.off('drain', onDrain);
    response.off('close', onClose);
    options.onResult(result);
  };
  const cut = (message: string): void => {
    if (over) return;
    finish({ type: 'cut', status, message });
    exchange.request.socket.resetAndDestroy();
  };
  const onDrain = (): void => {
    deadline.touch();
    answer.resume();
  };
  const onClose = (): void => {
    over = true;
    response.off('drain', onDrain);
  };

  deadline.set(limits.streamIdleMs, () => cut(`nothing moved for ${limits.streamIdleMs} ms`));
  const trailersAllowed = exchange.request.httpVersion === '1.1' && exchange.request.method !== 'HEAD' && status !== 204 && status !== 304;
  try {
    response.writeHead(status, answer.statusMessage ?? '', clientHeaders(answer, exchange.client.requestId, trailersAllowed));
  } catch (error) {
    finish({ type: 'unusable', message: error instanceof Error ? error.message : 'the answer has an invalid head' });
    return { end: () => undefined };
  }
  response.on('drain', onDrain);
  response.on('close', onClose);
  answer.on('data', (chunk: Buffer) => {
    if (over) return;
    wrote = true;
    facts.bytesOut += chunk.length;
    deadline.touch();
    if (!response.write(chunk)) answer.pause();
  });
  answer.on('end', () => {
    if (over) return;
    // Node takes a reset for the end of an answer that ends with its connection.
    if (!answer.complete || connection.errored !== null) return cut('the target closed the connection inside its answer');
    const trailers = trailerPairs(answer);
    if (trailers.length > 0) response.addTrailers(trailers);
    response.end();
    finish({ type: 'whole', status });
  });
  answer.on('error', (error) => cut(error.message));
  answer.on('close', () => {
    if (!answer.complete) cut('the target closed the connection inside its answer');
  });
  // Where the first piece comes with the head, both leave in one packet; where it does not (event streams), the head leaves alone.
  setImmediate(() => {
    if (!wrote && !over) response.flushHeaders();
  });

  return {
    end: (reason) => {
      if (answer.headers['content-type']?.startsWith('text/event-stream') !== true) return cut(reason);
      if (over) return;
      response.end();
      finish({ type: 'whole', status });
    },
  };
}

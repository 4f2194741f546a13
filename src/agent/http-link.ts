// The agent's link to control over HTTP: the typed client for everything but calls, which get a WebSocket each.

import { Readable } from 'node:stream';
import type { AgentLink } from './link.ts';
import { socketUrl } from '../api/client.ts';
import type { Client } from '../api/client.ts';
import type { ApiTable } from '../api/table.ts';
import { agent } from '../api/agent.ts';
import { openFrameSocket } from '../sys/frame-socket.ts';
import type { TlsParty } from '../sys/http-fetch.ts';

export interface HttpLinkOptions {
  readonly client: Client<Pick<ApiTable, 'agent' | 'blobs'>>;
  /** Address of the API, such as `http://127.0.0.1:7400`, as it is then. */
  readonly url: () => string;
  readonly token: () => string | null | Promise<string | null>;
  /** What is shown and asked for over TLS; absent: as the machine does. */
  readonly tls?: () => TlsParty;
}

/** Silence after which a transfer is given up; it is gone on with from where it stopped. */
const TRANSFER_SILENCE_MS = 60_000;

export function createHttpLink(options: HttpLinkOptions): AgentLink {
  const { client } = options;
  return {
    sync: (signal) => client.agent.sync({ signal, giveUpAfterMs: 0 }),
    report: async (body, signal) => {
      await client.agent.report({ body, signal });
    },
    goneEnvironments: async (ids, signal) => (await client.agent.gone({ body: { environments: [...ids] }, signal })).gone,
    fetchBlob: async (digest, startByte, signal) => {
      const range = startByte === 0 ? undefined : { start: startByte };
      const reply = await client.blobs.download({ params: { digest }, range, signal, timeoutMs: TRANSFER_SILENCE_MS });
      return Readable.from(reply.body);
    },
    uploadBlob: async (digest, open, signal) => {
      const status = await client.blobs.stat({ params: { digest }, signal });
      if (status.complete) return;
      await client.blobs.upload({
        params: { digest },
        query: { offset: status.offset, final: true },
        body: open(status.offset),
        signal,
        timeoutMs: TRANSFER_SILENCE_MS,
      });
    },
    openCall: async (callId, signal) =>
      openFrameSocket(socketUrl(options.url(), agent.call, { params: { call: callId } }), {
        token: await options.token(),
        tls: options.tls?.() ?? {},
        signal,
      }),
  };
}

// A small table with handlers that show what reached them, for the tests of the server itself. Only tests import it.

import { Readable } from 'node:stream';
import type { WebSocket } from 'ws';
import { endpoint, page, pageQuery, PERMISSIONS } from '../api/endpoint.ts';
import { createClient } from '../api/client.ts';
import type { Client } from '../api/client.ts';
import { systemClock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import { systemRandom } from '../lib/id.ts';
import { createMemoryStore } from '../store/memory.ts';
import type { Store } from '../store/store.ts';
import { silentLog } from '../sys/log.ts';
import type { Call, HandlersOf, Principal } from './handler.ts';
import { createIdempotencyStore } from './server-idempotency.ts';
import { pageOf } from './server-page.ts';
import { createServer } from './server.ts';
import type { AuditEntry, Server, ServerOptions } from './server.ts';

export const itemsTable = {
  items: {
    list: endpoint({
      method: 'GET',
      path: '/v1/items',
      summary: 'Items by name.',
      permission: 'apps.read',
      scope: 'platform',
      query: (z) => pageQuery(z),
      reply: (z) => page(z, z.object({ name: z.string() })),
    }),
    get: endpoint({
      method: 'GET',
      path: '/v1/items/{item}',
      summary: 'One item.',
      permission: 'apps.read',
      scope: 'platform',
      reply: (z) => z.object({ name: z.string(), size: z.number() }),
      errors: ['not_found'],
    }),
    put: endpoint({
      method: 'PUT',
      path: '/v1/items/{item}',
      summary: 'Sets an item.',
      permission: 'apps.create',
      scope: 'platform',
      bodyLimitBytes: 1024,
      body: (z) => z.object({ size: z.number(), nested: z.object({ deep: z.boolean() }).optional() }),
      reply: (z) => z.object({ name: z.string(), size: z.number() }),
    }),
    create: endpoint({
      method: 'POST',
      path: '/v1/items',
      summary: 'Makes an item.',
      permission: 'apps.create',
      scope: 'platform',
      body: (z) => z.object({ name: z.string().max(20) }),
      reply: (z) => z.object({ id: z.string() }),
      status: 201,
    }),
    delete: endpoint({
      method: 'DELETE',
      path: '/v1/items/{item}',
      summary: 'Deletes an item.',
      permission: 'apps.delete',
      scope: 'platform',
      status: 204,
    }),
    follow: endpoint({
      method: 'GET',
      path: '/v1/items/{item}/events',
      kind: 'sse',
      summary: 'Numbers.',
      permission: 'apps.read',
      scope: 'platform',
      reply: (z) => z.object({ n: z.number(), text: z.string().optional() }),
    }),
    socket: endpoint({
      method: 'GET',
      path: '/v1/items/{item}/socket',
      kind: 'socket',
      summary: 'Echo.',
      permission: 'exec',
      scope: 'platform',
      query: (z) => z.object({ mark: z.string().optional() }),
      status: 101,
    }),
  },
  bytes: {
    upload: endpoint({
      method: 'PUT',
      path: '/v1/bytes/{item}',
      kind: 'upload',
      summary: 'Takes bytes.',
      permission: 'blobs.write',
      scope: 'platform',
      reply: (z) => z.object({ size: z.number() }),
    }),
    download: endpoint({
      method: 'GET',
      path: '/v1/bytes/{item}',
      kind: 'download',
      summary: 'Gives bytes.',
      permission: 'blobs.read',
      scope: 'platform',
    }),
  },
  machine: {
    report: endpoint({
      method: 'POST',
      path: '/v1/machine/report',
      summary: 'Internal.',
      permission: 'agent.sync',
      scope: 'none',
      body: (z) => z.object({ known: z.number() }),
      reply: (z) => z.object({ keys: z.array(z.string()) }),
      internal: true,
    }),
  },
};
export type ItemsTable = typeof itemsTable;

export const DOWNLOAD = Buffer.from('0123456789');

export interface State {
  readonly items: Map<string, number>;
  /** recordIds that create was called with. */
  readonly made: string[];
  /** Runs at the start of `create`. */
  beforeCreate: (call: Call<ItemsTable['items']['create']>) => Promise<void>;
  follow: (
    call: Call<ItemsTable['items']['follow']>,
  ) => AsyncIterable<{ readonly id: string | null; readonly data: { readonly n: number } }>;
}

function handlersOn(state: State): HandlersOf<ItemsTable> {
  const sizeOf = (name: string): number => {
    const size = state.items.get(name);
    if (size === undefined) throw new Failure('not_found', { message: `There is no item ${name}.` });
    return size;
  };
  const socket = async (_call: unknown, ws: WebSocket): Promise<void> => {
    ws.on('message', (data: Buffer) => ws.send(data));
    await new Promise((resolve) => ws.once('close', resolve));
  };
  return {
    items: {
      list: async ({ query }) => {
        const all = [...state.items.keys()].sort().map((name) => ({ name }));
        return pageOf(all, query, { list: 'items', keyOf: ({ name }) => name, order: 'ascending' });
      },
      get: async ({ params }) => ({ name: params.item, size: sizeOf(params.item), secret: 'never shown' }),
      put: async ({ params, body }) => {
        state.items.set(params.item, body.size);
        return { name: params.item, size: body.size };
      },
      create: async (call) => {
        await state.beforeCreate(call);
        const id = call.recordId ?? `item-${state.made.length}`;
        state.made.push(id);
        return { id };
      },
      delete: async ({ params }) => {
        sizeOf(params.item);
        state.items.delete(params.item);
        return undefined;
      },
      follow: (call) => state.follow(call),
      socket: Object.assign(socket, {
        check: ({ params }: { readonly params: { readonly item: string } }) => {
          sizeOf(params.item);
        },
      }),
    },
    bytes: {
      upload: async ({ stream, params }) => {
        if (params.item === 'refused') throw new Failure('too_large', { message: 'Too much.' });
        let size = 0;
        for await (const chunk of stream ?? []) size += (chunk as Buffer).length; // raw request bodies give buffers
        return { size };
      },
      download: async ({ range }) => ({
        body: Readable.from([DOWNLOAD.subarray(range?.start ?? 0, (range?.end ?? DOWNLOAD.length) + 1)]),
        sizeBytes: DOWNLOAD.length,
      }),
    },
    machine: { report: async ({ body }) => ({ keys: Object.keys(body) }) },
  };
}

const ROOT: Principal = { kind: 'owner', name: 'root', permissions: new Set(PERMISSIONS) };
const READER: Principal = { kind: 'owner', name: 'reader', permissions: new Set(['public', 'apps.read'] as const) };

export interface Fixture {
  readonly server: Server;
  readonly state: State;
  readonly audits: AuditEntry[];
  readonly store: Store;
}

/** `Bearer root` may do all, `Bearer reader` only read. */
export function createFixture(options: Partial<ServerOptions<ItemsTable>> & { readonly store?: Store } = {}): Fixture {
  const store = options.store ?? createMemoryStore({ clock: systemClock });
  const state: State = {
    items: new Map([['a', 1]]),
    made: [],
    beforeCreate: async () => undefined,
    follow: async function* () {
      yield { id: '1', data: { n: 1 } };
    },
  };
  const audits: AuditEntry[] = [];
  const server = createServer({
    table: itemsTable,
    handlers: handlersOn(state),
    authenticate: (header) => {
      if (header === 'Bearer root') return ROOT;
      if (header === 'Bearer reader') return READER;
      throw new Failure('unauthenticated', { message: 'No.' });
    },
    authorise: (_principal, _endpoint, params) => {
      if (params['item'] === 'forbidden') throw new Failure('forbidden', { message: 'Not this one.' });
    },
    idempotency: createIdempotencyStore({ store, clock: systemClock, random: systemRandom }),
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    version: '0.0.0',
    domain: 'localhost',
    metrics: () => 'up 1\n',
    audit: (entry) => audits.push(entry),
    ...options,
  });
  return { server, state, audits, store };
}

/** A started server with a client on it. */
export async function startFixture(
  options: Parameters<typeof createFixture>[0] = {},
): Promise<Fixture & { readonly url: string; readonly port: number; readonly client: Client<ItemsTable> }> {
  const fixture = createFixture(options);
  const { url, port } = await fixture.server.start({ host: '127.0.0.1', port: 0 });
  return { ...fixture, url, port, client: createClient(itemsTable, { url, token: 'root' }) };
}

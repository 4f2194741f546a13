import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import type { IncomingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import * as fc from 'fast-check';
import { makeAuthority } from '../../test/fixtures/certificate.ts';
import type { RouteGroup, RouteParty, RouteTable } from '../api/dataplane.ts';
import { createCore } from '../dataplane/core.ts';
import type { Core } from '../dataplane/core.ts';
import { createScriptedLink, startInstance, until } from '../edge/edge-fixture.ts';
import type { ScriptedLink, TestInstance } from '../edge/edge-fixture.ts';
import { systemClock } from '../lib/clock.ts';
import { newId } from '../lib/id.ts';
import type { ServiceGrant } from '../model/service-policy.ts';
import { silentLog } from '../sys/log.ts';
import { signInstanceToken } from '../tunnel/instance-token.ts';
import { createApiProxy } from './api-proxy.ts';
import type { ApiProxy } from './api-proxy.ts';

const authority = makeAuthority();
const [here, there] = [authority.issueMachine(newId()), authority.issueMachine(newId())];

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

interface Seen {
  readonly name: string;
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
}

class Bench {
  readonly folder = mkdtempSync(join(tmpdir(), 'libra-apiproxy-'));
  readonly link: ScriptedLink = createScriptedLink();
  readonly core: Core;
  readonly proxy: ApiProxy;
  readonly seen: Seen[] = [];
  readonly instances: TestInstance[] = [];
  #sequence = 0;

  constructor(openPerCaller?: number) {
    const common = { clock: systemClock, log: silentLog };
    this.core = createCore({ ...common, edgeId: 'edge-1', link: this.link, tableFile: join(this.folder, 'table.json') });
    this.proxy = createApiProxy(
      {
        ...common,
        listen: [{ host: '127.0.0.1', port: 0 }],
        callLog: null,
        identity: () => here,
        ...(openPerCaller === undefined ? {} : { openPerCaller }),
      },
      this.core,
    );
  }

  async start(): Promise<void> {
    await this.core.start();
    await this.proxy.start();
  }

  async stop(): Promise<void> {
    await this.proxy.stop({ drainMs: 1000 });
    await this.core.stop();
    await Promise.all(this.instances.map((instance) => instance.close()));
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** A server that remembers what it was asked. */
  async serve(name: string, answer = name): Promise<TestInstance> {
    const instance = await startInstance(name, (request, response) => {
      this.seen.push({ name, method: request.method ?? '', url: request.url ?? '', headers: request.headers });
      response.end(answer);
    });
    this.instances.push(instance);
    return instance;
  }

  async install(table: RouteTable): Promise<void> {
    this.#sequence += 1;
    this.link.push({ type: 'snapshot', sequence: this.#sequence, table });
    await until('the table is in force', () => this.core.sequence() === this.#sequence);
  }

  ask(path: string, options: { token?: string; method?: string; headers?: Record<string, string> } = {}): Promise<Answer> {
    const { token, method = 'GET', headers = {} } = options;
    return new Promise((resolve, reject) => {
      const call = http.request(
        {
          host: '127.0.0.1',
          port: this.proxy.addresses()[0]?.port,
          path,
          method,
          agent: false,
          headers: { ...headers, ...(token === undefined ? {} : { 'x-libra-identity': token }) },
        },
        (response) => {
          let body = '';
          response.setEncoding('utf8');
          response.on('data', (text: string) => (body += text));
          response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
        },
      );
      call.on('error', reject);
      call.end();
    });
  }
}

const groupOf = (id: string, app: string, environment: string, targets: readonly TestInstance[]): RouteGroup => ({
  id,
  app,
  environment,
  entrypoint: 'web',
  state: targets.length > 0 ? 'serving' : 'down',
  targets: targets.map(({ target }) => target),
});

function party(app: string, environment: string, change: Partial<RouteParty> = {}): RouteParty {
  return { id: `${app}-${environment}`, app, environment, provides: {}, callers: [], ...change };
}

const callerIs = (instanceId: string, uses: readonly string[], nodeId = here.nodeId): Pick<RouteParty, 'callers'> => ({
  callers: [{ uses, instances: { [instanceId]: nodeId } }],
});

function tokenOf(instanceId: string, app: string, environment = 'production', node = here, nowMs = Date.now()): string {
  const claims = { instanceId, app, environment, environmentId: `${app}-${environment}`, entrypoint: 'web' };
  return signInstanceToken(node, claims, nowMs);
}

const problem = ({ body }: Answer): { readonly code: string; readonly detail: string; readonly hint: string } => JSON.parse(body);

describe('the API Proxy', () => {
  const bench = new Bench();
  let invoices: TestInstance;
  let platform: TestInstance;

  before(async () => {
    await bench.start();
    invoices = await bench.serve('invoices');
    platform = await bench.serve('platform');
    await bench.install({
      rules: [],
      groups: [
        groupOf('billing-production/web', 'billing', 'production', [invoices]),
        groupOf('libra/api', 'libra', 'production', [platform]),
      ],
      parties: [
        party('billing', 'production', {
          provides: {
            invoices: {
              group: 'billing-production/web',
              path: '/api',
              allow: ['shop', { app: 'audit', methods: ['GET'], paths: ['/archive'] }],
            },
          },
        }),
        party('shop', 'production', callerIs('shop-1', ['billing.invoices', 'librad.kv'])),
        party('shop', 'staging', callerIs('shop-2', ['billing/production.invoices'])),
        party('audit', 'production', callerIs('audit-1', ['billing.invoices'])),
        party('stranger', 'production', callerIs('stranger-1', ['billing.invoices'])),
      ],
    });
  });
  after(() => bench.stop());

  test('leads a call to the Service by its path, and tells it who calls and nothing that the caller says of itself', async () => {
    const headers = { 'x-libra-caller': 'root/production/web', authorization: 'Basic abc', 'x-forwarded-for': '6.6.6.6' };
    const answer = await bench.ask('/billing.invoices/2024?year=1', { token: tokenOf('shop-1', 'shop'), headers });
    assert.deepEqual([answer.status, answer.body], [200, 'invoices']);
    const seen = bench.seen.at(-1);
    assert.equal(seen?.url, '/api/2024?year=1');
    assert.equal(seen.headers['x-libra-caller'], 'shop/production/web');
    assert.equal(seen.headers['x-libra-caller-instance'], 'shop-1');
    assert.equal(seen.headers['x-libra-identity'], undefined);
    assert.equal(seen.headers['x-forwarded-for'], '127.0.0.1');
    assert.equal(seen.headers.authorization, 'Basic abc');
    assert.equal(seen.headers.host, 'invoices.billing.libra');
    assert.equal(seen.headers['x-request-id'], answer.headers['x-request-id']);
  });

  test('leads a call to the Service by its host', async () => {
    const token = tokenOf('shop-1', 'shop');
    assert.equal((await bench.ask('/7', { token, headers: { host: 'invoices.billing.libra' } })).body, 'invoices');
    assert.equal(bench.seen.at(-1)?.url, '/api/7');
  });

  test('knows nobody without a token that counts', async () => {
    const refused = async (token?: string): Promise<string> => {
      const answer = await bench.ask('/billing.invoices/', token === undefined ? {} : { token });
      assert.equal(answer.status, 401);
      assert.equal(problem(answer).code, 'unauthenticated');
      return problem(answer).detail;
    };
    assert.match(await refused(), /does not say who calls/u);
    assert.match(await refused('x'), /has not the form/u);
    assert.match(
      await refused(tokenOf('shop-1', 'shop', 'production', makeAuthority().issueMachine(here.nodeId))),
      /not one of this platform/u,
    );
    assert.match(await refused(tokenOf('shop-1', 'shop', 'production', there)), /another Node/u);
    assert.match(await refused(tokenOf('shop-9', 'shop')), /does not run any more/u);
    assert.match(await refused(tokenOf('shop-1', 'shop', 'production', here, Date.now() - 901_000)), /is over since/u);
    assert.match(await refused(tokenOf('shop-1', 'billing')), /another Node/u);
  });

  test('refuses what either side has not declared, and names the rule', async () => {
    const detail = async (path: string, token: string, status: number, method = 'GET'): Promise<string> => {
      const answer = await bench.ask(path, { token, method });
      assert.equal(answer.status, status, answer.body);
      return `${problem(answer).detail} ${problem(answer).hint}`;
    };
    assert.match(
      await detail('/billing.refunds/', tokenOf('shop-1', 'shop'), 403),
      /does not use billing\.refunds\. Add billing\.refunds to `uses`/u,
    );
    assert.match(await detail('/librad.locks/', tokenOf('shop-1', 'shop'), 403), /does not use librad\.locks/u);
    assert.match(
      await detail('/billing.invoices/', tokenOf('stranger-1', 'stranger'), 403),
      /does not allow stranger\/production\. .*add stranger to `provides\.invoices\.allow`/u,
    );
    assert.match(await detail('/billing.invoices/', tokenOf('audit-1', 'audit'), 403), /to GET \/: it has audit GET \/archive/u);
    assert.match(await detail('/billing.invoices/archive/1', tokenOf('audit-1', 'audit'), 403, 'POST'), /to POST \/archive\/1/u);
    assert.equal((await bench.ask('/billing.invoices/archive/1', { token: tokenOf('audit-1', 'audit') })).status, 200);
    assert.match(await detail('/billing.invoices/archive%2F..%2Fsecret', tokenOf('audit-1', 'audit'), 400), /encoded slash/u);
    assert.match(await detail('/nothing', tokenOf('shop-1', 'shop'), 404), /names no Service/u);
  });

  test('an Environment of another name is reached by saying so', async () => {
    assert.equal((await bench.ask('/billing.invoices/', { token: tokenOf('shop-2', 'shop', 'staging') })).body, 'invoices');
  });

  test('the platform’s own Services are asked with the caller’s credential', async () => {
    const token = tokenOf('shop-1', 'shop');
    const answer = await bench.ask('/librad.kv/keys/a?x=1', { token, headers: { authorization: 'Bearer mine' } });
    assert.equal(answer.body, 'platform');
    assert.equal(bench.seen.at(-1)?.url, '/v1/librad/kv/keys/a?x=1');
    assert.equal(bench.seen.at(-1)?.headers.authorization, `Bearer ${token}`);
  });

  test('an Instance that is gone from the table is nobody from then on', async () => {
    const own = new Bench();
    await own.start();
    try {
      const target = await own.serve('one');
      const group = groupOf('a-production/web', 'a', 'production', [target]);
      const provider = party('a', 'production', { provides: { s: { group: group.id, path: '/', allow: ['b'] } } });
      await own.install({ rules: [], groups: [group], parties: [provider, party('b', 'production', callerIs('b-1', ['a.s']))] });
      const token = tokenOf('b-1', 'b');
      assert.equal((await own.ask('/a.s/', { token })).status, 200);
      await own.install({ rules: [], groups: [group], parties: [provider, party('b', 'production', callerIs('b-2', ['a.s']))] });
      assert.equal((await own.ask('/a.s/', { token })).status, 401);
      assert.match(
        own.proxy.metrics(),
        /libra_apiproxy_requests_total\{caller="b",caller_environment="production",service="a.s",environment="production",version="",code="200"\} 1/u,
      );
    } finally {
      await own.stop();
    }
  });

  test('one Environment that has all open that it may leaves the others theirs', async () => {
    const own = new Bench(2);
    await own.start();
    try {
      const held: http.ServerResponse[] = [];
      const slow = await startInstance('slow', (_request, response) => void held.push(response));
      own.instances.push(slow);
      const group = groupOf('a-production/web', 'a', 'production', [slow]);
      await own.install({
        rules: [],
        groups: [group],
        parties: [
          party('a', 'production', { provides: { s: { group: group.id, path: '/', allow: ['b', 'c'] } } }),
          party('b', 'production', callerIs('b-1', ['a.s'])),
          party('c', 'production', callerIs('c-1', ['a.s'])),
        ],
      });
      const waiting = [1, 2].map(() => own.ask('/a.s/', { token: tokenOf('b-1', 'b') }));
      await until('both are open', () => held.length === 2);
      const third = await own.ask('/a.s/', { token: tokenOf('b-1', 'b') });
      assert.deepEqual([third.status, third.headers['retry-after']], [429, '1']);
      const other = own.ask('/a.s/', { token: tokenOf('c-1', 'c') });
      await until('the other one gets through', () => held.length === 3);
      for (const response of held) response.end('late');
      assert.deepEqual(
        (await Promise.all([...waiting, other])).map(({ status }) => status),
        [200, 200, 200],
      );
      const again = own.ask('/a.s/', { token: tokenOf('b-1', 'b') });
      await until('there is room again', () => held.length === 4);
      held[3]?.end();
      assert.equal((await again).status, 200);
    } finally {
      await own.stop();
    }
  });

  test('of 200 generated pairs exactly those call that both sides declare', async () => {
    const own = new Bench();
    await own.start();
    try {
      const apps = ['alpha', 'beta', 'gamma', 'delta', 'epsilon'];
      const environments = ['production', 'staging'];
      const target = await own.serve('any');
      const grant = fc.oneof(
        fc.constantFrom(...apps),
        fc.tuple(fc.constantFrom(...apps), fc.constantFrom(...environments)).map(([app, environment]) => `${app}/${environment}`),
        fc.record({ app: fc.constantFrom(...apps), methods: fc.constant(['GET', 'PUT']) }),
        fc.record({ app: fc.constantFrom(...apps), paths: fc.constant(['/open']) }),
      );
      const [declared] = fc.sample(fc.array(fc.array(grant, { minLength: 2, maxLength: 6 }), { minLength: 10, maxLength: 10 }), {
        numRuns: 1,
        seed: 7,
      });
      const [used] = fc.sample(fc.array(fc.subarray(apps, { minLength: 2 }), { minLength: 10, maxLength: 10 }), { numRuns: 1, seed: 8 });
      const all = apps.flatMap((app) => environments.map((environment) => ({ app, environment })));
      const allowOf = (index: number): readonly ServiceGrant[] => declared?.[index] ?? [];
      await own.install({
        rules: [],
        groups: all.map(({ app, environment }) => groupOf(`${app}-${environment}/web`, app, environment, [target])),
        parties: all.map(({ app, environment }, index) =>
          party(app, environment, {
            provides: { s: { group: `${app}-${environment}/web`, path: '/', allow: allowOf(index) } },
            ...callerIs(
              `${app}-${environment}-1`,
              (used?.[index] ?? []).map((other) => `${other}.s`),
            ),
          }),
        ),
      });
      let [pairs, passed] = [0, 0];
      for (const [at, caller] of all.entries()) {
        const token = tokenOf(`${caller.app}-${caller.environment}-1`, caller.app, caller.environment);
        for (const provider of apps) {
          for (const [method, path] of [
            ['GET', '/'],
            ['POST', '/'],
            ['GET', '/open/1'],
            ['POST', '/open/1'],
          ] as const) {
            pairs += 1;
            const index = all.findIndex(({ app, environment }) => app === provider && environment === caller.environment);
            // Written down anew, as a reader of the manifest would say it.
            const uses = (used?.[at] ?? []).includes(provider);
            const lets =
              provider === caller.app ||
              allowOf(index).some((one) => {
                if (typeof one === 'string') return one === caller.app || one === `${caller.app}/${caller.environment}`;
                if (one.app !== caller.app) return false;
                return one.methods === undefined ? path.startsWith('/open') : method === 'GET';
              });
            const { status } = await own.ask(`/${provider}.s${path}`, { token, method });
            assert.equal(status, uses && lets ? 200 : 403, `${caller.app}/${caller.environment} ${method} ${provider}${path}`);
            if (status === 200) passed += 1;
          }
        }
      }
      assert.equal(pairs, 200);
      assert.ok(passed > 20 && passed < 180, `${passed} passed`);
      assert.equal(own.seen.length, passed, 'what is refused reaches nobody');
    } finally {
      await own.stop();
    }
  });
});

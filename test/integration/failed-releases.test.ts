// A Release that never becomes healthy: the old one serves throughout, the exit code is 1, and the message names the cause.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { lacking } from '../requirements.ts';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { Platform } from '../platform.ts';

interface Cause {
  readonly name: string;
  readonly files: Readonly<Record<string, string>>;
  /** What the message to the user must say. */
  readonly says: RegExp;
  readonly skip?: string | false;
}

const web = (server: string, more = ''): Readonly<Record<string, string>> => ({
  'libra.yaml': `app: shop\nentrypoints:\n  web:\n    command: node server.mjs\n    rollout: { deadline: 5s }\n    health: { http: /healthz, interval: 1s, grace: 2s }\n${more}`,
  'server.mjs': server,
});

const causes: readonly Cause[] = [
  {
    name: 'a command that does not exist',
    files: { 'libra.yaml': 'app: shop\nentrypoints:\n  web: { command: no-such-program --serve }\n' },
    says: /no-such-program/u,
  },
  {
    name: 'a program that ends at once',
    files: web("console.error('cannot open the ledger'); process.exit(3);"),
    says: /code 3[\s\S]*|cannot open the ledger/u,
  },
  { name: 'a missing module', files: web("import 'not-installed';"), says: /not-installed/u },
  { name: 'a program that never listens', files: web('setInterval(() => {}, 1000);'), says: /listen/iu },
  {
    name: 'a program that listens on another port',
    files: web("import { createServer } from 'node:http'; createServer((q, s) => s.end('ok')).listen(34567, '127.0.0.1');"),
    says: /34567/u,
  },
  {
    name: 'a health path that answers 404',
    files: web(
      "import { createServer } from 'node:http'; createServer((q, s) => { s.statusCode = 404; s.end(); }).listen(process.env.PORT, '127.0.0.1');",
    ),
    says: /404/u,
  },
  {
    name: 'a missing variable',
    files: web("if (!process.env.DATABASE_URL) throw new Error('environment variable DATABASE_URL is not set');"),
    says: /DATABASE_URL/u,
  },
  {
    name: 'too little memory',
    files: web('const hog = []; setInterval(() => hog.push(Buffer.alloc(20e6, 1)), 5);', '    resources: { memory: 96Mi }\n'),
    says: /memory/iu,
    skip: lacking('cgroup'),
  },
  {
    name: 'a failing before-deploy program',
    files: {
      ...serverApp({ text: 'new' }),
      'libra.yaml':
        'app: shop\nentrypoints:\n  web: { command: node server.mjs }\n  migrate: { command: node migrate.mjs, run: before-deploy }\n',
      'migrate.mjs': "console.error('migration 12 failed'); process.exit(1);",
    },
    says: /migration 12 failed/u,
  },
  {
    name: 'a failing build',
    files: {
      ...serverApp({ text: 'new', more: 'build: { commands: [[node, -e, "console.error(\'no compiler here\'); process.exit(2)"]] }' }),
    },
    says: /no compiler here/u,
  },
];

describe('a Release that never becomes healthy', () => {
  const platform = new Platform();
  before(async () => {
    await platform.start();
    const folder = writeApp(platform, 'shop', serverApp({ text: 'old' }));
    assert.equal((await platform.cli('deploy', folder)).code, 0);
  });
  after(() => platform.dispose());

  for (const cause of causes) {
    test(`because of ${cause.name} leaves the old one serving and says why`, { skip: cause.skip ?? false }, async () => {
      const folder = writeApp(platform, 'shop', cause.files);
      const failed: string[] = [];
      let asked = 0;
      let ended = false;
      const load = (async () => {
        while (!ended) {
          const reply = await platform.get('shop.localhost').catch((error: unknown) => ({ status: 0, body: String(error) }));
          asked += 1;
          if (reply.status !== 200 || reply.body !== 'old') failed.push(`${reply.status} ${reply.body.slice(0, 80)}`);
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      })();
      const result = await platform.cli('deploy', folder).finally(() => {
        ended = true;
      });
      await load;
      assert.equal(result.code, 1, result.stdout + result.stderr);
      assert.match(result.stderr, cause.says, result.stdout);
      assert.match(result.stderr, /next:/u, 'it says what to do next');
      assert.deepEqual(failed, []);
      assert.ok(asked > 3);
    });
  }

  test('leaves nothing behind', async () => {
    const { items } = await platform.client().instances.list({ params: { app: 'shop', environment: 'production' } });
    assert.deepEqual(
      items.map((item) => [item.entrypoint, item.phase, item.release]),
      [['web', 'running', 1]],
    );
  });
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { formatProblem, parseManifest } from './manifest.ts';
import type { Manifest } from './manifest-types.ts';

function manifestOf(text: string): Manifest {
  const { manifest, problems } = parseManifest(text);
  assert.deepEqual(problems.map(formatProblem), []);
  assert.ok(manifest !== null);
  return manifest;
}

/** Problems as `line:column path: message`. */
function problemsOf(text: string): readonly string[] {
  const { manifest, problems } = parseManifest(text, 'f');
  assert.ok(manifest === null || problems.length === 0);
  return problems.map((problem) => formatProblem(problem).slice(2));
}

const WEB = 'entrypoints: { web: { command: node server.js } }\n';

test('the smallest manifest gets every default', () => {
  const manifest = manifestOf(`app: hello\n${WEB}`);
  assert.equal(manifest.app, 'hello');
  assert.deepEqual(manifest.build, { kind: 'none', base: null });
  const web = manifest.entrypoints['web'];
  assert.ok(web !== undefined);
  assert.deepEqual(web.command, ['node', 'server.js']);
  assert.equal(web.instances, 1);
  assert.equal(web.listens, true);
  assert.deepEqual(web.resources, {
    cpu: { request: 0.1, limit: 1, bind: false },
    memory: { requestBytes: 128 * 2 ** 20, limitBytes: 512 * 2 ** 20 },
    diskBytes: 2 ** 30,
  });
  assert.deepEqual(web.health, { probe: { kind: 'tcp' }, intervalMs: 5000, timeoutMs: 2000, healthy: 1, unhealthy: 3, graceMs: 30_000 });
  assert.deepEqual(web.rollout, { surge: 1, unavailable: 0, deadlineMs: 300_000, drainMs: 30_000 });
  assert.deepEqual(web.stop, { signal: 'SIGTERM', timeoutMs: 30_000 });
  assert.equal(web.routes, null);
  assert.equal(web.restart, 'always');
});

test('every key of the documented manifest is read', () => {
  const manifest = manifestOf(`
app: shop
build: { commands: [[npm, ci], npm run build], base: node:24-slim }
env: { LOG_LEVEL: info, RATIO: 1.10, ON: true, EMPTY: "", DATABASE_URL: { secret: database-url } }
entrypoints:
  web:
    command: node server.js --port \${PORT}
    port: 8080
    image: registry.example.com/shop:1
    env: { A: b }
    instances: 2
    resources: { cpu: { request: 0.25, limit: 500m }, memory: 256Mi, disk: 2Gi }
    health: { http: /healthz, interval: 5s, timeout: 2s, healthy: 2, unhealthy: 4, grace: 1m }
    routes: [ { host: Shop.example.com, path: /, match: { headers: { X-Beta: "1" } } }, { path: /api } ]
    rollout: { surge: 2, unavailable: 1, deadline: 10m, drain: 1m }
    placement: { strategy: each, labels: { disk: ssd }, perNode: 1 }
    restart: on-failure
    stop: { signal: SIGINT, timeout: 5s }
    hooks: { afterStart: [node warm.js], beforeStop: [[node, bye.js]], required: true }
    volumes: [ { name: data, path: /data, size: 10Gi }, { name: cache, path: /cache } ]
    files: [ { secret: tls-key, path: /etc/tls.key, mode: 0440 }, { secret: other, path: /etc/other } ]
  leader: { command: node leader.js, singleton: true, disconnect: { stopAfter: 20s, replaceAfter: 50s } }
  api: { command: node api.js }
  nightly: { command: node report.js, schedule: "0 3 * * *", timezone: Europe/Berlin, overlap: replace, missed: run }
  migrate: { command: node migrate.js, run: before-deploy }
provides: { orders: { entrypoint: api, path: /api, allow: [billing, "billing/staging"] } }
uses: [ billing.invoices, librad.kv ]
environments:
  staging: { runtime: small, protected: true, env: { LOG_LEVEL: debug }, entrypoints: { web: { instances: 1, env: { A: c }, resources: { cpu: 2 }, routes: [ { host: staging.shop.example.com } ] } } }
`);
  assert.deepEqual(manifest.build, {
    kind: 'commands',
    commands: [
      ['npm', 'ci'],
      ['npm', 'run', 'build'],
    ],
    base: 'node:24-slim',
  });
  assert.deepEqual(manifest.env, { LOG_LEVEL: 'info', RATIO: '1.10', ON: 'true', EMPTY: '', DATABASE_URL: { secret: 'database-url' } });
  const { web, leader, api, nightly, migrate } = manifest.entrypoints;
  assert.ok(web !== undefined && leader !== undefined && api !== undefined && nightly !== undefined && migrate !== undefined);
  assert.deepEqual(web.resources, {
    cpu: { request: 0.25, limit: 0.5, bind: false },
    memory: { requestBytes: 256 * 2 ** 20, limitBytes: 256 * 2 ** 20 },
    diskBytes: 2 * 2 ** 30,
  });
  assert.deepEqual(web.health, {
    probe: { kind: 'http', path: '/healthz' },
    intervalMs: 5000,
    timeoutMs: 2000,
    healthy: 2,
    unhealthy: 4,
    graceMs: 60_000,
  });
  assert.deepEqual(web.routes, [
    { host: 'shop.example.com', path: '/', match: { headers: { 'x-beta': '1' } } },
    { host: '', path: '/api', match: { headers: {} } },
  ]);
  assert.deepEqual(web.placement, { strategy: 'each', labels: { disk: 'ssd' }, perNode: 1 });
  assert.deepEqual(web.hooks, { afterStart: [['node', 'warm.js']], beforeStop: [['node', 'bye.js']], required: true });
  assert.deepEqual(web.volumes, [
    { name: 'data', path: '/data', sizeBytes: 10 * 2 ** 30 },
    { name: 'cache', path: '/cache', sizeBytes: 2 ** 30 },
  ]);
  assert.deepEqual(web.files, [
    { secret: 'tls-key', path: '/etc/tls.key', mode: 0o440 },
    { secret: 'other', path: '/etc/other', mode: 0o400 },
  ]);
  assert.deepEqual(
    [leader.listens, leader.health.probe, leader.disconnect],
    [false, { kind: 'running', settleMs: 1000 }, { stopAfterMs: 20_000, replaceAfterMs: 50_000 }],
  );
  assert.equal(api.listens, true, 'it answers a Service');
  assert.deepEqual(nightly.schedule, { cron: '0 3 * * *', timezone: 'Europe/Berlin', overlap: 'replace', missed: 'run' });
  assert.deepEqual([nightly.run, nightly.restart, migrate.run, migrate.restart], ['schedule', 'never', 'before-deploy', 'never']);
  assert.deepEqual(manifest.provides, { orders: { entrypoint: 'api', path: '/api', allow: ['billing', 'billing/staging'] } });
  assert.deepEqual(manifest.uses, ['billing.invoices', 'librad.kv']);
  const staging = manifest.environments['staging'];
  assert.deepEqual([staging?.runtime, staging?.protected], ['small', true]);
  assert.equal(staging?.entrypoints['web']?.resources?.cpu.limit, 2);
});

test('a static folder and an image need no Entrypoint', () => {
  assert.deepEqual(manifestOf('app: a\nbuild: { static: ./dist/, commands: [npm run build] }').build, {
    kind: 'static',
    directory: 'dist',
    commands: [['npm', 'run', 'build']],
  });
  assert.deepEqual(manifestOf('app: a\nbuild: { static: dist }').entrypoints['web']?.command, ['libra:static', 'dist']);
  assert.deepEqual(manifestOf('app: a\nbuild: { image: nginx }').entrypoints['web']?.command, []);
  assert.deepEqual(manifestOf('app: a\nbuild: { dockerfile: docker/Dockerfile }').build, {
    kind: 'dockerfile',
    dockerfile: 'docker/Dockerfile',
  });
});

test('a pair of request and limit completes itself without a limit below the request', () => {
  const resourcesOf = (text: string) =>
    manifestOf(`app: a\nentrypoints: { web: { command: x, resources: ${text} } }`).entrypoints['web']?.resources;
  assert.deepEqual(resourcesOf('{ cpu: { request: 4 } }')?.cpu, { request: 4, limit: 4, bind: false });
  assert.deepEqual(resourcesOf('{ cpu: { limit: 0.05 } }')?.cpu, { request: 0.05, limit: 0.05, bind: false });
  assert.deepEqual(resourcesOf('{ cpu: { cores: 2, bind: true } }')?.cpu, { request: 2, limit: 2, bind: true });
  assert.deepEqual(resourcesOf('{ memory: { limit: 64Mi } }')?.memory, { requestBytes: 64 * 2 ** 20, limitBytes: 64 * 2 ** 20 });
});

test('unknown keys stand at the key, with the nearest valid one', () => {
  assert.deepEqual(
    problemsOf(`app: a\nentrypoints:\n  web:\n    command: x\n    instance: 2\n    healt: {}\n    zzzzzz: 1\nenviroments: {}\n`),
    [
      '5:5: entrypoints.web.instance: unknown key; did you mean instances?',
      '6:5: entrypoints.web.healt: unknown key; did you mean health?',
      '7:5: entrypoints.web.zzzzzz: unknown key; expected one of command, image, port, env, instances, resources, health, routes, traffic, pages, rollout, placement, singleton, disconnect, restart, stop, hooks, volumes, files, container, run, schedule, timezone, overlap, missed',
      '8:1: enviroments: unknown key; did you mean environments?',
    ],
  );
});

test('unknown keys deep inside stand at their place too', () => {
  const deep = `app: a
entrypoints: { web: { command: x, resources: { cpu: { reqest: 1 } }, routes: [ { hots: a } ] } }
env: { A: { sekret: b } }
`;
  assert.deepEqual(problemsOf(deep), [
    '2:55: entrypoints.web.resources.cpu.reqest: unknown key; did you mean request?',
    '2:82: entrypoints.web.routes.0.hots: unknown key; did you mean host?',
    '3:11: env.A.secret: is missing: expected the name of a Secret: lower-case letters, digits, . _ -',
    '3:13: env.A.sekret: unknown key; did you mean secret?',
  ]);
});

test('wrong values stand at the value, with what was expected and found', () => {
  assert.deepEqual(
    problemsOf(`app: Shop
entrypoints:
  web:
    command: 12
    instances: two
    port: 70000
    health: { interval: 5 }
    restart: alway
    singleton: yes
    resources: { memory: 256, cpu: lots }
    volumes: data
`),
    [
      '1:6: app: expected a lower-case DNS label without --, at most 30 characters, found "Shop"',
      '4:14: entrypoints.web.command: expected a command: text, or a list of words, found 12',
      '5:16: entrypoints.web.instances: expected a whole number from 0 to 1000, found "two"',
      '6:11: entrypoints.web.port: expected a whole number from 1 to 65535, found 70000',
      '7:25: entrypoints.web.health.interval: expected a duration with its unit, found 5; did you mean 5s?',
      '8:14: entrypoints.web.restart: expected one of always, on-failure, never, found "alway"; did you mean always?',
      '9:16: entrypoints.web.singleton: expected true or false, found "yes"',
      '10:26: entrypoints.web.resources.memory: expected at least 4Mi, found 256; did you mean 256Mi?',
      '10:36: entrypoints.web.resources.cpu: expected a number of cores such as 0.5, 2 or 500m, found "lots"',
      '11:14: entrypoints.web.volumes: expected a list of volumes, found "data"',
    ],
  );
});

test('a missing App name and missing commands are told at what should hold them', () => {
  assert.deepEqual(problemsOf('entrypoints:\n  web: { port: 80 }\n  worker: {}\n'), [
    '1:1: app: is missing: expected a lower-case DNS label without --, at most 30 characters',
    '2:8: entrypoints.web.command: is missing: expected the command that starts it, such as node server.js',
    '3:11: entrypoints.worker.command: is missing: expected the command that starts it, such as node server.js',
  ]);
  assert.deepEqual(problemsOf('app: a\n'), [
    '1:1: entrypoints: is missing: expected at least one Entrypoint, such as `web: { command: node server.js }`',
  ]);
});

test('names of variables, secrets and things are checked at their key', () => {
  assert.deepEqual(
    problemsOf(
      `app: a\n${WEB}env:\n  PORT: "1"\n  LIBRA_X: x\n  1A: x\n  __proto__: x\n  B: { secret: Up Per }\n  C:\nenvironments: { Staging: {} }\n`,
    ),
    [
      '4:3: env.PORT: is set by Libra itself (PORT, HOST and LIBRA_*); choose another name',
      '5:3: env.LIBRA_X: is set by Libra itself (PORT, HOST and LIBRA_*); choose another name',
      '6:3: env.1A: is not a valid variable name: expected letters, digits and _, not starting with a digit',
      '7:3: env.__proto__: is not a valid variable name: expected letters, digits and _, not starting with a digit',
      '8:16: env.B.secret: expected the name of a Secret: lower-case letters, digits, . _ -, found "Up Per"',
      '9:3: env.C: expected text, found nothing; write "" for an empty value',
      '10:17: environments.Staging: is not a valid name: expected a lower-case DNS label without --, at most 30 characters',
    ],
  );
});

test('duplicate keys are told together with everything else', () => {
  assert.deepEqual(problemsOf(`app: a\napp: b\nx: 1\nentrypoints:\n  web: { command: a, command: b }\n`), [
    '2:1: the key app is there twice',
    '3:1: x: unknown key; expected one of app, build, env, rollout, entrypoints, provides, uses, environments',
    '5:22: the key command is there twice',
  ]);
});

test('text that is no YAML is told at its place', () => {
  const [first = ''] = problemsOf('app: a\nentrypoints: [}\n');
  assert.match(first, /^2:15: not valid YAML/u);
  assert.match(problemsOf('app: a\n\tweb: x\n')[0] ?? '', /^2:1: .*tab/iu);
  assert.deepEqual(problemsOf('app: a\n---\napp: b\n'), ['2:1: a manifest is one YAML document; remove what follows `---`']);
  assert.deepEqual(problemsOf('- a\n'), ['1:1: expected a mapping with app, entrypoints …, found a list']);
  assert.deepEqual(problemsOf(''), ['1:1: expected a mapping with app, entrypoints …, found nothing']);
});

test('anchors work, and those that lead nowhere, into themselves or explode are told', () => {
  assert.deepEqual(
    manifestOf('app: a\nentrypoints:\n  web: { command: x, env: &e { A: b } }\n  w2: { command: y, env: *e }\n').entrypoints['w2']?.env,
    { A: 'b' },
  );
  assert.deepEqual(problemsOf('app: *x\n'), ['1:6: there is no anchor &x before this']);
  assert.deepEqual(problemsOf('app: &a [*a]\n'), ['1:10: the anchor &a cannot hold itself']);
  let bomb = 'a0: &a0 [x,x,x,x,x,x,x,x,x]\n';
  for (let level = 1; level < 12; level += 1)
    bomb += `a${level}: &a${level} [${Array.from({ length: 9 }, () => `*a${level - 1}`).join(',')}]\n`;
  assert.match(problemsOf(bomb)[0] ?? '', /alias/u);
});

test('the file name of a problem is the one that was given', () => {
  assert.equal(formatProblem({ file: 'x/libra.yaml', line: 3, column: 4, path: 'app', message: 'm' }), 'x/libra.yaml:3:4: app: m');
  assert.equal(parseManifest('[', 'x/libra.yaml').problems[0]?.file, 'x/libra.yaml');
});

test('more problems than anybody reads are cut at a hundred', () => {
  const { problems } = parseManifest(`app: a\n${Array.from({ length: 500 }, (_, index) => `k${index}: 1`).join('\n')}`);
  assert.equal(problems.length, 100);
  assert.match(problems.at(-1)?.message ?? '', /more problems/u);
});

test('a manifest of more than 256 KiB is refused unread', () => {
  assert.deepEqual(problemsOf(`app: ${'a'.repeat(10 * 2 ** 20)}`), ['1:1: a manifest has at most 256 KiB']);
});

test('hostile texts of the full size are answered in a few seconds', () => {
  const size = 250_000;
  for (const unit of ['[', '{', 'k:\n', '- *a\n', 'a: b: c\n', '}']) {
    const before = process.cpuUsage();
    const { manifest, problems } = parseManifest(unit.repeat(size / unit.length));
    assert.equal(manifest, null);
    assert.ok(problems.length > 0 && problems.length <= 100);
    // Of the CPU: whoever else uses it says nothing about the text.
    assert.ok(process.cpuUsage(before).user < 10_000_000, unit);
  }
  const keys = parseManifest(Array.from({ length: 25_000 }, (_, index) => `k${index}:`).join('\n'));
  assert.equal(keys.problems.length, 100);
});

test('no text at all makes the reader throw', () => {
  const yamlish = fc.string({
    unit: fc.constantFrom(
      'app',
      'web',
      'env',
      'entrypoints',
      'command',
      ': ',
      '\n',
      '  ',
      '- ',
      '{',
      '}',
      '[',
      ']',
      ',',
      '"',
      "'",
      '&a',
      '*a',
      '!',
      '|',
      '>',
      '#',
      '%',
      '0',
      '~',
      '<<',
      '?',
      '\t',
      '\u0000',
      '\ud800',
    ),
    maxLength: 60,
  });
  fc.assert(
    fc.property(fc.oneof(fc.string(), yamlish), (text) => {
      const { manifest, problems } = parseManifest(text);
      assert.ok((manifest === null) === problems.length > 0);
      for (const problem of problems) assert.ok(problem.line >= 1 && problem.column >= 1);
    }),
    { numRuns: 500 },
  );
});

test('any JSON value in the place of any section is answered with problems, never with an exception', () => {
  const section = fc.constantFrom('app', 'build', 'env', 'entrypoints', 'provides', 'uses', 'environments');
  fc.assert(
    fc.property(fc.dictionary(section, fc.jsonValue({ maxDepth: 4 })), fc.jsonValue({ maxDepth: 3 }), (sections, inner) => {
      const text = JSON.stringify({ ...sections, entrypoints: sections['entrypoints'] ?? { web: inner } });
      const { manifest, problems } = parseManifest(text);
      assert.ok((manifest === null) === problems.length > 0);
    }),
    { numRuns: 300 },
  );
});

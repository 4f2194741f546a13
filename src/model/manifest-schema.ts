// The sections of a manifest as they stand in the file, before defaults. What one section cannot know about the rest is checked in
// manifest-checks.ts.

import type { z } from 'zod';
import { PAGE_BYTES } from './app-pages.ts';
import { containerSection } from './manifest-container.ts';
import { either, field, list, mapOf, section } from './manifest-fields.ts';
import type { At } from './manifest-fields.ts';
import { method, routeSection } from './manifest-route.ts';
import { trafficSection } from './manifest-traffic.ts';
import {
  absolutePath,
  bool,
  bytes,
  command,
  commands,
  cpu,
  duration,
  env,
  fileMode,
  image,
  innerPath,
  integer,
  name,
  nameTrouble,
  oneOf,
  port,
  probePath,
  secretName,
  signal,
  text,
  urlPath,
} from './manifest-values.ts';
import { isName } from './names.ts';
import { isLabelKey, isLabelValue } from './selector.ts';

const HOUR_MS = 3_600_000;

export const buildSection = section({
  commands: commands.optional(),
  image: image.optional(),
  dockerfile: innerPath.optional(),
  static: innerPath.optional(),
  base: image.optional(),
});

/** A pair in which the second must not be below the first. */
function ordered<S extends z.ZodType<Readonly<Record<string, unknown>>>>(pair: S, low: string, high: string): S {
  return pair.check((context) => {
    const first = context.value[low];
    const second = context.value[high];
    if (typeof first === 'number' && typeof second === 'number' && second < first) {
      context.issues.push({ code: 'custom', message: `cannot be less than ${low}`, path: [high], input: second });
    }
  });
}

const cpuSection = ordered(
  section({ request: cpu.optional(), limit: cpu.optional(), cores: integer(1, 1024).optional(), bind: bool.optional() }).check(
    (context) => {
      if (context.value.cores === undefined) return;
      for (const key of ['request', 'limit'] as const) {
        if (context.value[key] === undefined) continue;
        context.issues.push({
          code: 'custom',
          message: 'cannot stand next to cores',
          path: [key],
          params: { at: 'key' satisfies At },
          input: key,
        });
      }
    },
  ),
  'request',
  'limit',
);

const resources = section({
  cpu: either(cpu, cpuSection).optional(),
  memory: either(bytes, ordered(section({ request: bytes.optional(), limit: bytes.optional() }), 'request', 'limit')).optional(),
  disk: bytes.optional(),
  devices: mapOf('devices', (key) => (isName(key) ? null : 'is no name of a device, such as gpu'), integer(1, 64), 10).optional(),
});

const health = section({
  http: probePath.optional(),
  tcp: field('true', (value) => (value === true ? true : undefined)).optional(),
  command: command.optional(),
  interval: duration(100, HOUR_MS).optional(),
  timeout: duration(10, HOUR_MS).optional(),
  healthy: integer(1, 100).optional(),
  unhealthy: integer(1, 1000).optional(),
  grace: duration(0, HOUR_MS).optional(),
});

const routes = list(routeSection, 'routes');

const page = field(`HTML of at most ${PAGE_BYTES / 1024} KiB`, (value) => {
  if (typeof value !== 'string' || value === '') return undefined;
  return new TextEncoder().encode(value).length <= PAGE_BYTES ? value : new Error(`is longer than ${PAGE_BYTES / 1024} KiB`);
});

const pages = section({
  starting: page.optional(),
  stopped: page.optional(),
  paused: page.optional(),
  unavailable: page.optional(),
  error: page.optional(),
  denied: page.optional(),
  default: page.optional(),
});

const labels = mapOf(
  'labels',
  (key) => (isLabelKey(key) ? null : 'is not a valid label: expected letters, digits, . _ / -'),
  text('the value of a label, in quotes', isLabelValue),
  50,
);

const instances = integer(0, 1000);

export const entrypointSection = section({
  command: command.optional(),
  image: image.optional(),
  port: port.optional(),
  env: env.optional(),
  instances: instances.optional(),
  resources: resources.optional(),
  health: health.optional(),
  routes: routes.optional(),
  traffic: trafficSection.optional(),
  pages: pages.optional(),
  rollout: section({
    surge: integer(0, 100).optional(),
    unavailable: integer(0, 100).optional(),
    deadline: duration(1000, 24 * HOUR_MS).optional(),
    drain: duration(0, 24 * HOUR_MS).optional(),
  }).optional(),
  placement: section({
    strategy: oneOf(['auto', 'fill', 'each', 'global', 'drained']).optional(),
    labels: labels.optional(),
    perNode: integer(0, 1000).optional(),
    spread: text('the key of a label, such as zone', isLabelKey).optional(),
    near: list(name, 'Entrypoints', 10).optional(),
    apart: list(name, 'Entrypoints', 10).optional(),
  }).optional(),
  singleton: bool.optional(),
  disconnect: ordered(
    section({ stopAfter: duration(1000, HOUR_MS).optional(), replaceAfter: duration(1000, HOUR_MS).optional() }),
    'stopAfter',
    'replaceAfter',
  ).optional(),
  restart: oneOf(['always', 'on-failure', 'never']).optional(),
  stop: section({ signal: signal.optional(), timeout: duration(0, HOUR_MS).optional() }).optional(),
  hooks: section({ afterStart: commands.optional(), beforeStop: commands.optional(), required: bool.optional() }).optional(),
  volumes: list(section({ name, path: absolutePath, size: bytes.optional() }), 'volumes', 20).optional(),
  files: list(section({ secret: secretName, path: absolutePath, mode: fileMode.optional() }), 'files', 50).optional(),
  container: containerSection.optional(),
  run: oneOf(['service', 'schedule', 'before-deploy', 'manual']).optional(),
  schedule: text('a cron expression such as "0 3 * * *"', (value) => value.length <= 200).optional(),
  timezone: text('a time zone such as Europe/Berlin or UTC', (value) => value.length <= 60).optional(),
  overlap: oneOf(['skip', 'allow', 'replace']).optional(),
  missed: oneOf(['skip', 'run']).optional(),
});

export type EntrypointInput = z.output<typeof entrypointSection>;

/** Another App (`billing`) or one Environment of it (`billing/staging`). */
const consumer = text('an App or App/Environment, such as billing or billing/staging', (value) => {
  const parts = value.split('/');
  return parts.length <= 2 && parts.every(isName);
});

const consumerRights = section({
  app: consumer,
  methods: list(method, 'methods', 20).optional(),
  paths: list(urlPath, 'paths').optional(),
});

export const providesSection = section({
  entrypoint: name,
  path: urlPath.optional(),
  allow: list(either(consumer, consumerRights), 'Apps').optional(),
});

export const usesSection = list(
  text('a Service such as billing.invoices', (value) => {
    const dot = value.lastIndexOf('.');
    const parts = value.slice(0, dot).split('/');
    return dot > 0 && isName(value.slice(dot + 1)) && parts.length <= 2 && parts.every(isName);
  }),
  'Services',
);

export type GrantInput = NonNullable<z.output<typeof providesSection>['allow']>[number];

const overrideSection = section({
  instances: instances.optional(),
  resources: resources.optional(),
  routes: routes.optional(),
  env: env.optional(),
});

export const environmentSection = section({
  runtime: name.optional(),
  protected: bool.optional(),
  env: env.optional(),
  entrypoints: mapOf('Entrypoints', nameTrouble, overrideSection, 50).optional(),
});

export type EnvironmentInput = z.output<typeof environmentSection>;
export type BuildInput = z.output<typeof buildSection>;
export type ResourcesInput = z.output<typeof resources>;
export type OverrideInput = z.output<typeof overrideSection>;

/** The keys of the top level. */
export const TOP_KEYS: readonly string[] = ['app', 'build', 'env', 'rollout', 'entrypoints', 'provides', 'uses', 'environments'];

export { env as envSection, name as appName };

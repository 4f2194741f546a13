// The manifest after parsing: every default filled in, every quantity in a plain unit. Only model/manifest.ts makes these.

import type { RouteMatch } from './route-match.ts';
import type { ContainerOptions } from './container-options.ts';
import type { RoutePolicy } from './route-policy.ts';
import type { AppPages } from './app-pages.ts';
import type { ServiceGrant } from './service-policy.ts';
import type { TrafficPolicy } from './traffic-policy.ts';

import type { CanaryPlan } from './canary.ts';

/** A plain text, or a reference to a Secret of the Environment that the Instance gets the value of. */
export type EnvValue = string | { readonly secret: string };

export type Build =
  /** Nothing to build: the folder is the artifact. `base` names the image that a bundle runs in on docker. */
  | { readonly kind: 'none'; readonly base: string | null }
  | { readonly kind: 'commands'; readonly commands: readonly (readonly string[])[]; readonly base: string | null }
  | { readonly kind: 'image'; readonly image: string }
  | { readonly kind: 'dockerfile'; readonly dockerfile: string }
  /** A folder of files, served by Libra's own static file server. `directory` is relative to the bundle. */
  | { readonly kind: 'static'; readonly directory: string; readonly commands: readonly (readonly string[])[] };

export interface Resources {
  readonly cpu: { readonly request: number; readonly limit: number; readonly bind: boolean };
  readonly memory: { readonly requestBytes: number; readonly limitBytes: number };
  /** Soft quota of the work folder and volumes without a size; bytes. */
  readonly diskBytes: number;
  /** Countable things of a Node, by name; absent: none. */
  readonly devices?: Readonly<Record<string, number>>;
}

export type HealthProbe =
  | { readonly kind: 'http'; readonly path: string }
  | { readonly kind: 'tcp' }
  | { readonly kind: 'command'; readonly command: readonly string[] }
  /** No port and no check: healthy when it has run for `settleMs` without ending. */
  | { readonly kind: 'running'; readonly settleMs: number };

export interface Health {
  readonly probe: HealthProbe;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Successes in a row that make it healthy. */
  readonly healthy: number;
  /** Failures in a row that make a healthy one unhealthy. */
  readonly unhealthy: number;
  /** Failures within this time after a start do not count against it, milliseconds. */
  readonly graceMs: number;
}

export interface RouteSpec {
  /** Lower-case host name; a leading `*.` label is a wildcard, `*` alone every host. Empty: the Environment's default host, which effectiveRoutes fills in. */
  readonly host: string;
  /** Starts with `/`, but for a pattern. */
  readonly path: string;
  /** Absent: the path is a prefix on whole segments. */
  readonly pathType?: 'exact' | 'pattern';
  readonly match: RouteMatch;
  readonly policy?: RoutePolicy;
}

export type EntrypointRun = 'service' | 'schedule' | 'before-deploy' | 'manual';

export interface EntrypointSpec {
  readonly name: string;
  readonly run: EntrypointRun;
  /** Words; `${VAR}` inside a word is expanded by Libra at start. `['libra:static', dir]` is the built-in file server. */
  readonly command: readonly string[];
  /** Own image of this Entrypoint, instead of the Release's artifact. */
  readonly image: string | null;
  /** A fixed port, where the program cannot take $PORT. */
  readonly port: number | null;
  /** Whether it listens at all: it then gets PORT and a tcp check unless another is declared. */
  readonly listens: boolean;
  readonly env: Readonly<Record<string, EnvValue>>;
  readonly instances: number;
  readonly resources: Resources;
  readonly health: Health;
  /** null: the default host where the Entrypoint is `web`, else none. */
  readonly routes: readonly RouteSpec[] | null;
  /** Absent in Deployments of before there was one: the default. */
  readonly traffic?: TrafficPolicy;
  /** Absent: the Edge's own. */
  readonly pages?: AppPages;
  readonly rollout: { readonly surge: number; readonly unavailable: number; readonly deadlineMs: number; readonly drainMs: number };
  readonly placement: {
    readonly strategy: 'auto' | 'fill' | 'each' | 'global' | 'drained';
    readonly labels: Readonly<Record<string, string>>;
    readonly perNode: number;
    /** Evenly over the values of this label of Nodes first. */
    readonly spread?: string;
    /** Entrypoints of the same App: only where each of them has an Instance. */
    readonly near?: readonly string[];
    /** Only where none of them has one. */
    readonly apart?: readonly string[];
  };
  readonly singleton: boolean;
  readonly disconnect: { readonly stopAfterMs: number; readonly replaceAfterMs: number };
  readonly restart: 'always' | 'on-failure' | 'never';
  readonly stop: { readonly signal: string; readonly timeoutMs: number };
  readonly hooks: {
    readonly afterStart: readonly (readonly string[])[];
    readonly beforeStop: readonly (readonly string[])[];
    readonly required: boolean;
  };
  readonly volumes: readonly { readonly name: string; readonly path: string; readonly sizeBytes: number }[];
  readonly files: readonly { readonly secret: string; readonly path: string; readonly mode: number }[];
  /** What it asks of its container; absent: nothing, so that it may run without one. */
  readonly container?: ContainerOptions;
  readonly schedule: {
    readonly cron: string;
    readonly timezone: string;
    readonly overlap: 'skip' | 'allow' | 'replace';
    readonly missed: 'skip' | 'run';
  } | null;
}

/** What `environments.<name>` of a manifest may change. Absent means: as the Entrypoint says. */
export interface EntrypointOverride {
  readonly instances?: number | undefined;
  readonly resources?: Resources | undefined;
  readonly routes?: readonly RouteSpec[] | undefined;
  readonly env?: Readonly<Record<string, EnvValue>> | undefined;
}

export interface EnvironmentSection {
  readonly runtime: string | null;
  /** Nobody's laptop stands in there. Absent: true for production, false elsewhere. */
  readonly protected?: boolean;
  readonly env: Readonly<Record<string, EnvValue>>;
  readonly entrypoints: Readonly<Record<string, EntrypointOverride>>;
}

export interface Manifest {
  readonly app: string;
  /** How every deploy is tried beside what serves; absent or null: it is rolled out at once. */
  readonly canary?: CanaryPlan | null;
  readonly build: Build;
  readonly env: Readonly<Record<string, EnvValue>>;
  readonly entrypoints: Readonly<Record<string, EntrypointSpec>>;
  readonly provides: Readonly<Record<string, ProvidedService>>;
  readonly uses: readonly string[];
  readonly environments: Readonly<Record<string, EnvironmentSection>>;
}

/** `path` is put before what is asked for. */
export interface ProvidedService {
  readonly entrypoint: string;
  readonly path: string;
  readonly allow: readonly ServiceGrant[];
}

/** One finding in a manifest, with its place: lines and columns count from 1. */
export interface ManifestProblem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** Dotted path, such as `entrypoints.web.instances`. */
  readonly path: string;
  readonly message: string;
}

// Which artifact runs where (product.md §3). What does not fit is refused at plan, with the reason, before anything starts.

import type { Artifact, DriverInfo } from './documents.ts';
import type { Build, EntrypointSpec } from './manifest-types.ts';

export type DriverChoice =
  | {
      readonly ok: true;
      readonly driver: string;
      /** The port that it wants is one of the machine, which nothing else may have. */
      readonly holdsPort: boolean;
    }
  | { readonly ok: false; readonly message: string; readonly hint: string };

/** Preference where several drivers of a Node could run it: the plain process first, it needs nothing else. */
const PREFERENCE: readonly string[] = ['process', 'docker', 'kubernetes', 'fake'];

const MADE_BY: Readonly<Record<Build['kind'], Artifact['kind']>> = {
  image: 'image',
  dockerfile: 'image',
  none: 'bundle',
  commands: 'bundle',
  static: 'bundle',
};

/** What kind of artifact an Entrypoint runs: its own image, else what the build of the Release makes. */
function artifactKind(spec: EntrypointSpec, build: Build): Artifact['kind'] {
  return spec.image === null ? MADE_BY[build.kind] : 'image';
}

/** The driver of a Node that shall run this Entrypoint, or why none can. */
export function chooseDriver(drivers: readonly DriverInfo[], spec: EntrypointSpec, build: Build): DriverChoice {
  const kind = artifactKind(spec, build);
  const able = drivers.filter((driver) => refusal(driver, kind, spec, build) === null).map((driver) => driver.name);
  const chosen = PREFERENCE.find((name) => able.includes(name)) ?? able.toSorted()[0];
  if (chosen !== undefined) return { ok: true, driver: chosen, holdsPort: chosen === 'process' || spec.container?.host?.network === true };
  const [first] = drivers;
  if (first === undefined) {
    return { ok: false, message: 'The Node offers no driver.', hint: 'Look at `libra nodes`: its agent may still be starting.' };
  }
  const reasons = drivers.map((driver) => refusal(driver, kind, spec, build)?.message ?? '');
  return {
    ok: false,
    message: `Entrypoint ${spec.name} cannot run here: ${reasons.join('; ')}.`,
    hint: refusal(first, kind, spec, build)?.hint ?? '',
  };
}

function refusal(
  driver: DriverInfo,
  kind: Artifact['kind'],
  spec: EntrypointSpec,
  build: Build,
): { readonly message: string; readonly hint: string } | null {
  if (!driver.artifacts.includes(kind)) {
    return kind === 'image'
      ? {
          message: `driver ${driver.name} runs folders, and this is an image`,
          hint: 'Use a Runtime whose Nodes have the docker or kubernetes driver, or give a command instead of an image.',
        }
      : {
          message: `driver ${driver.name} runs images, and this is a folder`,
          hint: 'Use a Runtime whose Nodes have the process driver, or give `build: { dockerfile: Dockerfile }`.',
        };
  }
  if (spec.container !== undefined && driver.containers !== true) {
    return {
      message: `driver ${driver.name} runs no containers, and \`container\` asks something of one`,
      hint: 'Use a Runtime whose Nodes have the docker driver, or take `container` out of the manifest.',
    };
  }
  const { cores = 'it shares them all' } = driver.limits;
  if (spec.resources.cpu.bind && cores !== 'enforced') {
    return {
      message: `driver ${driver.name} gives no cores of their own here: ${cores}`,
      hint: 'Ask for a share instead, `resources: { cpu: 2 }`, or use a Runtime whose Nodes can bind them.',
    };
  }
  if (kind === 'image' || driver.name === 'process' || driver.name === 'fake') return null;
  if (spec.command[0] === 'libra:static') {
    return {
      message: `driver ${driver.name} has no file server of Libra's own`,
      hint: 'Use a Runtime whose Nodes have the process driver, or an image that serves the files.',
    };
  }
  const base = build.kind === 'none' || build.kind === 'commands' ? build.base : null;
  if (base !== null) return null;
  return {
    message: `driver ${driver.name} needs an image to run a folder in`,
    hint: 'Name it in the manifest: `build: { base: node:24-slim }`.',
  };
}

// The platform itself towards its operators: is it there, can it work, what is it made of, and its end.

import type { table } from '../api/table.ts';
import { Failure } from '../lib/failure.ts';
import { FINAL_INSTANCE_PHASES } from '../model/documents.ts';
import { worksWith } from '../model/version-skew.ts';
import { appRecords } from './apps/records.ts';
import { instanceStatusRecords, nodeSpecRecords, nodeStatusRecords } from './cluster/records.ts';
import type { ControlContext } from './context.ts';
import { noticesOf } from './deploys/notices.ts';
import { instanceSpecRecords } from './deploys/records.ts';
import type { ControlPlane } from './leadership/records.ts';
import type { NounHandlers } from './handler.ts';
import type { ReconcilerStatus } from './reconcile.ts';

type System = NounHandlers<typeof table.system>;
type EdgeInfo = Awaited<ReturnType<System['status']>>['edges'][number];

export interface SystemDeps {
  readonly storeEngine: string;
  /** Wall-clock time at which this control plane began. */
  readonly startedAtMs: number;
  /** This one does. */
  readonly leads: boolean;
  readonly planes: () => readonly (ControlPlane & { readonly leads: boolean })[];
  /** Role → URL or host:port, as they are now. */
  readonly addresses: () => Readonly<Record<string, string>>;
  readonly edges: () => readonly EdgeInfo[];
  readonly reconcilers: () => readonly ReconcilerStatus[];
  /** Further things that are not as they should be. */
  readonly warnings: () => readonly string[];
  /** null: everything is there; else the part that is missing. */
  readonly missing: () => string | null;
  readonly shutdown: (options: { readonly keepInstances: boolean }) => void;
}

/** A pass that fails for so long is worth a warning. */
const SLOW_START_MS = 30_000;

export function createSystem(context: ControlContext, deps: SystemDeps): System {
  const { view, clock, settings } = context;
  const { startedAtMs } = deps;
  const startedMonotonic = clock.monotonic();

  const warnings = (): string[] => {
    const found = [...deps.warnings()];
    if (!deps.planes().some((plane) => plane.leads)) found.push('No control plane leads: nothing is changed until one does.');
    for (const { document } of view.list(nodeSpecRecords)) {
      const status = view.get(nodeStatusRecords, document.id)?.document;
      if (status?.state === 'down') found.push(`Node ${document.name} is down.`);
      if (status !== undefined && !worksWith(status.platform.program, settings.version))
        found.push(tooFar(`Node ${document.name}`, status.platform.program, settings.version));
      for (const driver of status?.drivers ?? []) {
        for (const [what, state] of Object.entries(driver.limits)) {
          if (state !== 'enforced' && !state.startsWith('soft'))
            found.push(`Node ${document.name}, driver ${driver.name}: ${what} ${state}.`);
        }
      }
    }
    for (const { name, version } of deps.planes())
      if (!worksWith(version, settings.version)) found.push(tooFar(`The control plane ${name}`, version, settings.version));
    for (const reconciler of deps.reconcilers()) {
      if (reconciler.lastError !== null) found.push(`Reconciler ${reconciler.name} fails: ${reconciler.lastError}`);
    }
    if (deps.leads && deps.edges().length === 0 && clock.monotonic() - startedMonotonic > SLOW_START_MS)
      found.push('No Edge is connected: no App can be reached from outside.');
    return found;
  };

  const running = (): number =>
    view.list(instanceSpecRecords).filter(({ document }) => {
      const phase = view.get(instanceStatusRecords, document.id)?.document.phase;
      return phase === undefined || !FINAL_INSTANCE_PHASES.has(phase);
    }).length;

  return {
    health: async () => ({ status: 'ok' }),
    ready: async () => {
      const missing = deps.missing();
      if (missing !== null) throw new Failure('unavailable', { message: missing });
      return { status: 'ready' };
    },
    status: async () => ({
      version: settings.version,
      startedAtMs,
      domain: settings.domain,
      addresses: { ...deps.addresses() },
      counts: { apps: view.list(appRecords).length, instances: running(), nodes: view.list(nodeSpecRecords).length },
      edges: [...deps.edges()],
      reconcilers: deps
        .reconcilers()
        .map(({ name, runs, lastStartedMs, lastDurationMs, lastError }) => ({ name, runs, lastStartedMs, lastDurationMs, lastError })),
      controls: deps.planes().map(({ id, name, url, version, leads }) => ({ id, name, url, version, leads })),
      store: { engine: deps.storeEngine, revision: view.revision },
      notices: [...noticesOf(view)],
      warnings: warnings(),
    }),
    shutdown: async (call) => {
      deps.shutdown({ keepInstances: call.body.keepInstances });
      return { stopping: true };
    },
    whoami: async (call) => ({ kind: call.principal.kind, name: call.principal.name, permissions: [...call.principal.permissions].sort() }),
  };
}

function tooFar(who: string, version: string, own: string): string {
  return `${who} runs Libra ${version}, which is more than one minor version from ${own} here: bring them closer (docs/guide/nodes.md).`;
}

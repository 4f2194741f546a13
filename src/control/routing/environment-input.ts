// What one Environment's part of the route table is compiled from, gathered from the records as they stand now.

import { FINAL_INSTANCE_PHASES } from '../../model/documents.ts';
import type { Deployment, Environment, InstanceSpec, NodeStatus } from '../../model/documents.ts';
import type { Manifest } from '../../model/manifest-types.ts';
import type { View } from '../../store/view.ts';
import { appRecords, releaseRecords } from '../apps/records.ts';
import { instanceStatusRecords } from '../cluster/records.ts';
import { deploymentRecords, environmentRecords, instanceSpecRecords } from '../deploys/records.ts';
import { sessionRecords } from '../dev/records.ts';
import type { EnvironmentInput } from './compile.ts';

/** Where Edges on other machines reach what a Node runs. */
export type DataPort = NonNullable<NodeStatus['dataPort']>;

export interface InputDeps {
  readonly view: Pick<View, 'get' | 'by'>;
  readonly domain: string;
  readonly dataPorts: ReadonlyMap<string, DataPort>;
}

/** null: there is no such Environment any more. */
export function environmentInput({ view, domain, dataPorts }: InputDeps, environmentId: string): EnvironmentInput | null {
  const environment = view.get(environmentRecords, environmentId)?.document;
  const app = environment === undefined ? undefined : view.get(appRecords, environment.appId)?.document;
  if (environment === undefined || app === undefined) return null;
  const deployment = (id: string | null): Deployment | null => (id === null ? null : (view.get(deploymentRecords, id)?.document ?? null));
  const stable = deployment(environment.stableDeploymentId);
  const candidate = deployment(environment.candidateDeploymentId);
  const sessions = view.by(sessionRecords, 'environment', environmentId).map(({ document: session }) => {
    const via = session.attached === null ? undefined : dataPorts.get(session.attached.nodeId);
    return { session, ...(via === undefined ? {} : { via }) };
  });
  const specs = view.by(instanceSpecRecords, 'environment', environmentId).map(({ document }) => document);
  return {
    app,
    environment,
    domain,
    stable,
    candidate,
    instances: specs
      .filter((spec) => spec.role === 'service')
      .map((spec) => {
        const via = dataPorts.get(spec.nodeId);
        return {
          spec,
          status: view.get(instanceStatusRecords, spec.id)?.document ?? null,
          deployment: deployment(spec.deploymentId),
          ...(via === undefined ? {} : { via }),
        };
      }),
    ...(sessions.length === 0 ? {} : { sessions }),
    provides: providesOf(view, environment),
    callers: specs.flatMap((spec) => {
      const uses = usesOf(view, spec);
      // One that is being stopped may still have something to give back.
      if (uses.length === 0) return [];
      const phase = view.get(instanceStatusRecords, spec.id)?.document.phase;
      return phase !== undefined && FINAL_INSTANCE_PHASES.has(phase) ? [] : [{ instanceId: spec.id, nodeId: spec.nodeId, uses }];
    }),
  };
}

/** What the manifest of the stable Deployment provides, or of the first candidate. */
export function providesOf(
  view: Pick<View, 'get'>,
  { stableDeploymentId, candidateDeploymentId }: Pick<Environment, 'stableDeploymentId' | 'candidateDeploymentId'>,
): Manifest['provides'] {
  const find = (id: string | null): Deployment | null => (id === null ? null : (view.get(deploymentRecords, id)?.document ?? null));
  return manifestOf(view, find(stableDeploymentId) ?? find(candidateDeploymentId))?.provides ?? {};
}

/** Services that the Instance may call, by the manifest that it came with; a build calls none. */
export function usesOf(view: Pick<View, 'get'>, { role, deploymentId }: InstanceSpec): readonly string[] {
  const deployment = deploymentId === null || role === 'build' ? undefined : view.get(deploymentRecords, deploymentId)?.document;
  return manifestOf(view, deployment ?? null)?.uses ?? [];
}

function manifestOf(view: Pick<View, 'get'>, deployment: Deployment | null): Manifest | null {
  return deployment === null ? null : (view.get(releaseRecords, deployment.releaseId)?.document.manifest ?? null);
}

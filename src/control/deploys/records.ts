// Records of Environments, Deployments and desired Instances.

import { defineCollection } from '../../store/collection.ts';
import type { Collection } from '../../store/collection.ts';
import type { Deployment, DeploymentStatus, Environment, InstanceSpec } from '../../model/documents.ts';

export const environmentRecords: Collection<Environment> = defineCollection<Environment>({
  name: 'environments',
  uniqueName: (environment) => `${environment.appId}/${environment.name}`,
  indexes: { app: (environment) => environment.appId },
});
export const deploymentRecords: Collection<Deployment> = defineCollection<Deployment>({
  name: 'deployments',
  uniqueName: (deployment) => `${deployment.environmentId}/${deployment.number}`,
  indexes: { environment: (deployment) => deployment.environmentId, release: (deployment) => deployment.releaseId },
});
export const deploymentStatusRecords: Collection<DeploymentStatus> = defineCollection<DeploymentStatus>({
  name: 'deployment-statuses',
  indexes: { environment: (status) => status.environmentId },
});
export const instanceSpecRecords: Collection<InstanceSpec> = defineCollection<InstanceSpec>({
  name: 'instance-specs',
  indexes: {
    environment: (spec) => spec.environmentId,
    deployment: (spec) => spec.deploymentId,
    node: (spec) => spec.nodeId,
    app: (spec) => spec.appId,
  },
});

/** Written when nobody can say whether a commit that placed something was done: those that were sent before count no more. */
export interface PlacingMark {
  readonly id: string;
  readonly atMs: number;
}
export const placingMarkRecords: Collection<PlacingMark> = defineCollection<PlacingMark>({ name: 'placing-marks' });

// Which Environments no laptop stands in for. The rule is of what is deployed there, never of the folder on the laptop.

import { Failure } from '../../lib/failure.ts';
import type { App, Environment } from '../../model/documents.ts';
import { PRODUCTION } from '../../model/names.ts';
import type { View } from '../../store/view.ts';
import { releaseRecords } from '../apps/records.ts';
import { deploymentRecords } from '../deploys/records.ts';

/** The function throws `plan_refused`, naming the rule, where the Environment is protected. */
export function refuseProtected(view: View, app: App, environment: Environment): void {
  const { name, stableDeploymentId } = environment;
  const deployment = stableDeploymentId === null ? undefined : view.get(deploymentRecords, stableDeploymentId)?.document;
  const release = deployment === undefined ? undefined : view.get(releaseRecords, deployment.releaseId)?.document;
  const { environments = {} } = release?.manifest ?? {};
  const said = Object.hasOwn(environments, name) ? environments[name]?.protected : undefined;
  if (!(said ?? name === PRODUCTION)) return;
  const rule = `environments.${name}.protected`;
  const where = `${app.name}/${name}`;
  throw new Failure('plan_refused', {
    message:
      said === undefined
        ? `${where} is protected: production is, unless the manifest that is deployed there says \`${rule}: false\`.`
        : `${where} is protected: the manifest of Release ${release?.number ?? 0}, which is deployed there, says \`${rule}: true\`.`,
    hint: `Use another Environment (libra dev -e dev makes one), or deploy \`${rule}: false\`.`,
    details: { rule },
  });
}

// What somebody has begun in an Environment and not ended: canaries that wait, pauses, versions that are kept at hand.

import { formatPercent } from '../../model/canary.ts';
import type { Environment } from '../../model/documents.ts';
import type { View } from '../../store/view.ts';
import { appRecords } from '../apps/records.ts';
import { deploymentRecords, deploymentStatusRecords, environmentRecords } from './records.ts';

/** In order of their Environments' names; at most so many. */
const MOST = 100;

export function noticesOf(view: View): readonly string[] {
  return view
    .list(environmentRecords)
    .flatMap(({ document }) => noticesAbout(view, document))
    .sort()
    .slice(0, MOST);
}

function noticesAbout(view: View, environment: Environment): readonly string[] {
  const { candidateDeploymentId, split, hold, standby, stopped } = environment;
  const app = view.get(appRecords, environment.appId)?.document.name ?? '';
  const place = environment.name === 'production' ? `--app ${app}` : `--app ${app} --environment ${environment.name}`;
  const name = `${app}/${environment.name}`;
  const notices: string[] = [];
  const status = candidateDeploymentId === null ? undefined : view.get(deploymentStatusRecords, candidateDeploymentId)?.document;
  if (status?.phase === 'canary') {
    const share = formatPercent(split?.deploymentId === status.id ? split.percent : 0);
    notices.push(`${name}: Deployment ${numberOf(view, status.id)} is tried with ${share} of the requests (libra deployments ${place}).`);
  }
  if (hold !== undefined && hold !== null && !stopped) notices.push(`${name} is paused (libra resume ${place}).`);
  if (standby !== undefined && standby !== null) {
    notices.push(`${name}: Deployment ${numberOf(view, standby.deploymentId)} is kept at hand (libra rollback ${place}).`);
  }
  return notices;
}

function numberOf(view: View, deploymentId: string): string {
  return String(view.get(deploymentRecords, deploymentId)?.document.number ?? '');
}

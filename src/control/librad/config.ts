// librad.config: the variables and secret files of the caller's own Entrypoint, as its Deployment has them, or as they are set by now. It
// gives nobody a name that its Deployment does not have: what an Entrypoint may know, the manifest says.

import type { table } from '../../api/table.ts';
import type { ReplyOf } from '../../api/endpoint.ts';
import { Failure } from '../../lib/failure.ts';
import type { Deployment } from '../../model/documents.ts';
import { configValueRecords } from '../config/records.ts';
import type { ResolvedValues, Values } from '../config/values.ts';
import type { ControlContext } from '../context.ts';
import { deploymentRecords, environmentRecords, instanceSpecRecords } from '../deploys/records.ts';
import type { NounHandlers } from '../handler.ts';
import { followLevel } from './level.ts';
import { placeOf } from './place.ts';
import type { Place } from './place.ts';

type Config = ReplyOf<(typeof table.config)['get']>;
type At = 'deployed' | 'newest';

interface Used {
  readonly valueId: string;
  readonly name: string;
  readonly version: number;
}

export function createConfig(
  context: ControlContext,
  { values }: { readonly values: Pick<Values, 'resolveValues' | 'openValue'> },
): NounHandlers<typeof table.config> {
  const { view } = context;

  const deploymentOf = ({ instanceId }: Place): Deployment => {
    const id = view.get(instanceSpecRecords, instanceId)?.document.deploymentId ?? null;
    const deployment = id === null ? undefined : view.get(deploymentRecords, id)?.document;
    if (deployment !== undefined) return deployment;
    throw new Failure('not_found', { message: 'This Instance belongs to no Deployment, so it has no values of one.' });
  };

  /** Which version is given, and whether the Deployment's is the newest. */
  const chosen = (used: Used, at: At, current: ResolvedValues): Used & { readonly isOutdated: boolean } => {
    const kind = view.get(configValueRecords, used.valueId)?.document.kind;
    const newest = (kind === 'env' ? current.env : current.secrets).get(used.name);
    // One that was unset stays what it was until the next Deployment.
    const isOutdated = newest !== undefined && newest.version > used.version;
    return { ...used, ...(at === 'newest' && isOutdated ? newest : {}), isOutdated };
  };

  const read = (place: Place, at: At): Config => {
    const deployment = deploymentOf(place);
    const current = values.resolveValues(place.environmentId);
    const variables = Object.entries(deployment.env[place.entrypoint] ?? {}).map(([name, source]) => {
      if (source.kind === 'plain') return { name, value: source.value, version: null, isOutdated: false };
      const { valueId, version, isOutdated } = chosen(source, at, current);
      return { name, value: values.openValue(valueId).toString('utf8'), version, isOutdated };
    });
    const files = (deployment.files[place.entrypoint] ?? []).map((file) => {
      const { valueId, version, isOutdated } = chosen(file, at, current);
      return { path: file.path, contentBase64: values.openValue(valueId).toString('base64'), version, isOutdated };
    });
    return { variables, files };
  };

  return {
    get: async ({ principal, query }) => read(placeOf(principal), query.at),
    watch: ({ principal, query, lastEventId, signal }) => {
      const place = placeOf(principal);
      return followLevel(context, {
        place,
        lastEventId,
        signal,
        isTouched: (changed) =>
          changed.has(configValueRecords.name) || (changed.get(environmentRecords.name)?.has(place.environmentId) ?? false),
        read: () => read(place, query.at),
      });
    },
  };
}

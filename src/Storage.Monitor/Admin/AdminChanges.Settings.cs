using Storage.Monitor.Core;
using Storage.Rpc;
using Storage.Rpc.Admin;

namespace Storage.Monitor.Admin;

// Settings in the map.
internal sealed partial class AdminChanges
{
    private void SetConfiguration(ConfigSetRequest request, AdminReplyTo reply)
    {
        string section = request.Section.Length == 0 ? "global" : request.Section;
        if (request.Key.Length == 0 || request.Key.Contains('/', StringComparison.Ordinal) || section.Contains('/', StringComparison.Ordinal))
        {
            throw new RpcException(StatusCode.InvalidArgument, $"'{section}/{request.Key}' is no name of a setting");
        }

        // One that is set already may always be removed.
        if (request.HasValue && KnownSettings.Judge(section, request.Key) is { } unknown)
        {
            throw new RpcException(StatusCode.InvalidArgument, unknown);
        }

        if (request.HasValue && MonitorPolicy.Judge(request.Key, request.Value) is { } wrong)
        {
            throw new RpcException(StatusCode.InvalidArgument, wrong);
        }

        string key = section + "/" + request.Key;
        string? value = request.HasValue ? request.Value : null;
        Change(
            (draft, change) =>
            {
                if (draft.GetConfiguration(key) == value)
                {
                    return Verdict.NoChange;
                }

                if (MonitorPolicy.IsFullness(request.Key)
                    && leader.Defaults.JudgeFullness(name => name == key ? value : draft.GetConfiguration(name)) is { } disorder)
                {
                    return change.Refuse(StatusCode.FailedPrecondition, disorder);
                }

                draft.SetConfiguration(key, value);
                draft.Log(EventLevel.Info, "admin", value is null ? $"setting {key} removed" : $"setting {key} = {value}");
                return Verdict.Drafted;
            },
            reply);
    }
}

using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Osd.Protocol;

namespace Storage.Osd;

// What operators order, through a monitor.
public sealed partial class OsdDaemon
{
    private void AnswerCommand(IConnection connection, ReadOnlySpan<byte> body)
    {
        var reader = new WireReader(body);
        reader.ReadVersion(1, "PG command");
        ulong request = reader.ReadUInt64();
        var id = new PgId(reader.ReadInt64(), reader.ReadUInt32());
        var command = (PgCommand)reader.ReadByte();
        int argument = reader.ReadInt32();
        bool done = TryCommand(id, command, argument, out string text);
        _control.Clear();
        _control.WriteByte(1);
        _control.WriteUInt64(request);
        _control.WriteBoolean(done);
        _control.WriteString(text);
        connection.Send(MessageType.PgCommandReply, _control.WrittenSpan);
    }

    private bool TryCommand(PgId id, PgCommand command, int argument, out string text)
    {
        if (command == PgCommand.ClearErrors)
        {
            ClearErrors();
            text = $"{Id} counts its read errors from now on";
            return true;
        }

        if (!_groups.TryGetValue(id, out PlacementGroup? group) || !group.IsPrimary)
        {
            text = $"{Id} is not the primary of pg {id}";
            return false;
        }

        switch (command)
        {
            case PgCommand.Scrub:
                text = $"{Id} scrubs pg {id}";
                return RequestScrub(id, deep: false);
            case PgCommand.DeepScrub:
                text = $"{Id} deep-scrubs pg {id}";
                return RequestScrub(id, deep: true);
            case PgCommand.Repair:
                text = $"{Id} repairs pg {id}";
                return RequestScrub(id, deep: true, repair: true, argument >= 0 ? new OsdId(argument) : OsdId.None);
            case PgCommand.ListInconsistent:
                text = group.ListInconsistentJson();
                return true;
            case PgCommand.RevertUnfound or PgCommand.DeleteUnfound:
                return group.TryGiveUpUnfound(command == PgCommand.RevertUnfound, out text);
            default:
                text = $"{Id} knows no command {(byte)command}";
                return false;
        }
    }

    /// <summary>Gives the objects of a PG up that no copy at hand has.</summary>
    /// <param name="group">The PG; this OSD is its primary.</param>
    /// <param name="revert">Go back to an older version where there is one; else they are gone.</param>
    /// <param name="text">What was done, or why nothing was.</param>
    /// <returns>Whether it was done.</returns>
    public bool TryGiveUpUnfound(PgId group, bool revert, out string text) =>
        TryCommand(group, revert ? PgCommand.RevertUnfound : PgCommand.DeleteUnfound, 0, out text);

    /// <summary>Counts read errors from now on, those that are still not repaired apart.</summary>
    public void ClearErrors()
    {
        long open = 0;
        foreach (PlacementGroup group in _groups.Values)
        {
            open += group.DamagedObjects;
        }

        _counters.ReadErrors = open;
        _counters.RepairedErrors = 0;
        ((IPlacementGroupHost)this).StateChanged();
    }
}

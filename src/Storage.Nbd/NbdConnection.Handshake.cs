using System.Buffers.Binary;
using System.Text;
using Storage.Block;
using Storage.Coding;
using static Storage.Nbd.NbdProtocol;

namespace Storage.Nbd;

// The handshake. One option at a time: while one waits for the cluster, nothing more is read.
internal sealed partial class NbdConnection
{
    private const string Allocation = "base:allocation";
    private const int LongestName = 4096;
    private const int LongestMessage = 1024;
    private HandshakeFlags _clientFlags;
    private bool _structured;
    private string? _contextExport; // export for which base:allocation was agreed on

    private static TransmissionFlags FlagsOf(Volume volume) => volume.IsReadOnly
        ? TransmissionFlags.HasFlags | TransmissionFlags.ReadOnly | TransmissionFlags.SendFlush | TransmissionFlags.SendFua | TransmissionFlags.SendCache | TransmissionFlags.CanMultiConn
        : TransmissionFlags.HasFlags | TransmissionFlags.SendFlush | TransmissionFlags.SendFua | TransmissionFlags.SendTrim
        | TransmissionFlags.SendWriteZeroes | TransmissionFlags.SendFastZero | TransmissionFlags.SendCache | TransmissionFlags.CanMultiConn;

    private void SendGreeting()
    {
        Span<byte> greeting = stackalloc byte[18];
        BinaryPrimitives.WriteUInt64BigEndian(greeting, InitMagic);
        BinaryPrimitives.WriteUInt64BigEndian(greeting[8..], OptionMagic);
        BinaryPrimitives.WriteUInt16BigEndian(greeting[16..], (ushort)(HandshakeFlags.FixedNewstyle | HandshakeFlags.NoZeroes));
        _socket.Send(greeting);
    }

    private int ReceiveClientFlags(ReadOnlySpan<byte> data)
    {
        if (data.Length < 4)
        {
            return 0;
        }

        _clientFlags = (HandshakeFlags)BinaryPrimitives.ReadUInt32BigEndian(data);
        if ((_clientFlags & ~(HandshakeFlags.FixedNewstyle | HandshakeFlags.NoZeroes)) != 0)
        {
            Fail($"unknown client flags 0x{(uint)_clientFlags:x}");
            return 4;
        }

        _phase = Phase.Options;
        return 4;
    }

    private int ReceiveOption(ReadOnlySpan<byte> data)
    {
        if (data.Length < OptionHeaderLength)
        {
            return 0;
        }

        if (BinaryPrimitives.ReadUInt64BigEndian(data) != OptionMagic)
        {
            Fail("no option magic where one belongs");
            return data.Length;
        }

        var option = (NbdOption)BinaryPrimitives.ReadUInt32BigEndian(data[8..]);
        uint length = BinaryPrimitives.ReadUInt32BigEndian(data[12..]);
        if (length > LongestOption)
        {
            Fail($"option {option} of {length} bytes; the limit is {LongestOption}");
            return data.Length;
        }

        int total = OptionHeaderLength + (int)length;
        if (data.Length < total)
        {
            return 0;
        }

        ReadOnlySpan<byte> content = data[OptionHeaderLength..total];
        switch (option)
        {
            case NbdOption.ExportName:
                Await(ServeExportNameAsync(Encoding.UTF8.GetString(content)));
                break;
            case NbdOption.Abort:
                Reply(option, NbdOptionReply.Ack);
                _phase = Phase.Ending;
                _socket.CloseWhenFlushed();
                break;
            case NbdOption.List when length == 0:
                Await(ServeListAsync());
                break;
            case NbdOption.Info or NbdOption.Go:
                ReceiveInfo(option, content);
                break;
            case NbdOption.StructuredReply when length == 0:
                _structured = true;
                Reply(option, NbdOptionReply.Ack);
                break;
            case NbdOption.ListMetaContext or NbdOption.SetMetaContext:
                ReceiveMetaContext(option, content);
                break;
            case NbdOption.List or NbdOption.StructuredReply:
                Refuse(option, NbdOptionReply.Invalid, $"this option has no data, {length} bytes came");
                break;
            case NbdOption.StartTls:
                Refuse(option, NbdOptionReply.Policy, "this server speaks plain text only");
                break;
            default:
                Refuse(option, NbdOptionReply.Unsupported, $"option {(uint)option} is not supported");
                break;
        }

        return total;
    }

    /// <summary>Reads no further until an answer that takes time is given.</summary>
    private void Await(Task answer)
    {
        if (answer.IsCompletedSuccessfully)
        {
            return;
        }

        _socket.PauseReceiving();
        Resume(answer);

        async void Resume(Task task)
        {
            try
            {
                await task;
            }
            catch (OperationCanceledException)
            {
                return; // the client went away
            }
            catch (Exception exception) when (exception is IOException or MalformedDataException or ObjectDisposedException)
            {
                Fail(exception.Message);
                return;
            }

            if (!_closed)
            {
                _socket.ResumeReceiving();
            }
        }
    }

    private async Task ServeExportNameAsync(string name)
    {
        // This old option has no way to say no but to hang up.
        VolumeShare share = await server.Volumes.OpenAsync(name, _gone.Token);
        if (_closed)
        {
            share.Dispose();
            return;
        }

        Begin(share, name);
        int zeroes = (_clientFlags & HandshakeFlags.NoZeroes) != 0 ? 0 : 124;
        var reply = new byte[10 + zeroes];
        BinaryPrimitives.WriteUInt64BigEndian(reply, (ulong)share.Volume.Size);
        BinaryPrimitives.WriteUInt16BigEndian(reply.AsSpan(8), (ushort)FlagsOf(share.Volume));
        _socket.Send(reply);
    }

    private async Task ServeListAsync()
    {
        IReadOnlyList<string> names;
        try
        {
            names = await server.Volumes.ListAsync(_gone.Token);
        }
        catch (Exception exception) when (exception is IOException or MalformedDataException)
        {
            Refuse(NbdOption.List, NbdOptionReply.Policy, exception.Message);
            return;
        }

        foreach (string name in names)
        {
            byte[] text = Encoding.UTF8.GetBytes(name);
            var entry = new byte[4 + text.Length];
            BinaryPrimitives.WriteUInt32BigEndian(entry, (uint)text.Length);
            text.CopyTo(entry, 4);
            Reply(NbdOption.List, NbdOptionReply.Server, entry);
        }

        Reply(NbdOption.List, NbdOptionReply.Ack);
    }

    private void ReceiveInfo(NbdOption option, ReadOnlySpan<byte> content)
    {
        // Name length u32, name, count u16, that many u16.
        if (!TryReadName(ref content, out string name) || content.Length < 2)
        {
            Refuse(option, NbdOptionReply.Invalid, "malformed export name");
            return;
        }

        int count = BinaryPrimitives.ReadUInt16BigEndian(content);
        if (content.Length != 2 + (count * 2))
        {
            Refuse(option, NbdOptionReply.Invalid, $"{count} information requests announced in {content.Length - 2} bytes");
            return;
        }

        bool wantsName = false;
        for (int i = 0; i < count; i++)
        {
            wantsName |= BinaryPrimitives.ReadUInt16BigEndian(content[(2 + (i * 2))..]) == (ushort)NbdInfo.Name;
        }

        Await(ServeInfoAsync(option, name, wantsName));
    }

    private async Task ServeInfoAsync(NbdOption option, string name, bool wantsName)
    {
        VolumeShare share;
        try
        {
            share = await server.Volumes.OpenAsync(name, _gone.Token);
        }
        catch (VolumeException exception)
        {
            Refuse(option, NbdOptionReply.Unknown, exception.Message);
            return;
        }
        catch (Exception exception) when (exception is IOException or MalformedDataException)
        {
            Refuse(option, NbdOptionReply.Policy, exception.Message);
            return;
        }

        if (_closed)
        {
            share.Dispose();
            return;
        }

        var export = new byte[12];
        BinaryPrimitives.WriteUInt16BigEndian(export, (ushort)NbdInfo.Export);
        BinaryPrimitives.WriteUInt64BigEndian(export.AsSpan(2), (ulong)share.Volume.Size);
        BinaryPrimitives.WriteUInt16BigEndian(export.AsSpan(10), (ushort)FlagsOf(share.Volume));
        Reply(option, NbdOptionReply.Info, export);
        var sizes = new byte[14];
        BinaryPrimitives.WriteUInt16BigEndian(sizes, (ushort)NbdInfo.BlockSize);
        BinaryPrimitives.WriteUInt32BigEndian(sizes.AsSpan(2), 1);
        BinaryPrimitives.WriteUInt32BigEndian(sizes.AsSpan(6), 4096);
        BinaryPrimitives.WriteUInt32BigEndian(sizes.AsSpan(10), LongestPayload);
        Reply(option, NbdOptionReply.Info, sizes);
        if (wantsName)
        {
            byte[] text = Encoding.UTF8.GetBytes(name);
            var info = new byte[2 + text.Length];
            BinaryPrimitives.WriteUInt16BigEndian(info, (ushort)NbdInfo.Name);
            text.CopyTo(info, 2);
            Reply(option, NbdOptionReply.Info, info);
        }

        Reply(option, NbdOptionReply.Ack);
        if (option == NbdOption.Go)
        {
            Begin(share, name);
        }
        else
        {
            share.Dispose();
        }
    }

    private void ReceiveMetaContext(NbdOption option, ReadOnlySpan<byte> content)
    {
        if (option == NbdOption.SetMetaContext)
        {
            _contextExport = null;
        }

        if (!_structured)
        {
            Refuse(option, NbdOptionReply.Invalid, "structured replies must be agreed on first");
            return;
        }

        if (!TryReadName(ref content, out string name) || content.Length < 4)
        {
            Refuse(option, NbdOptionReply.Invalid, "malformed export name");
            return;
        }

        uint queries = BinaryPrimitives.ReadUInt32BigEndian(content);
        content = content[4..];
        bool selected = queries == 0 && option == NbdOption.ListMetaContext;
        for (uint i = 0; i < queries; i++)
        {
            if (!TryReadName(ref content, out string query))
            {
                Refuse(option, NbdOptionReply.Invalid, $"malformed query {i} of {queries}");
                return;
            }

            selected |= query == Allocation || (query == "base:" && option == NbdOption.ListMetaContext);
        }

        if (!content.IsEmpty)
        {
            Refuse(option, NbdOptionReply.Invalid, $"{content.Length} bytes too many");
            return;
        }

        Await(ServeMetaContextAsync(option, name, selected));
    }

    private async Task ServeMetaContextAsync(NbdOption option, string name, bool selected)
    {
        try
        {
            (await server.Volumes.OpenAsync(name, _gone.Token)).Dispose();
        }
        catch (VolumeException exception)
        {
            Refuse(option, NbdOptionReply.Unknown, exception.Message);
            return;
        }
        catch (Exception exception) when (exception is IOException or MalformedDataException)
        {
            Refuse(option, NbdOptionReply.Policy, exception.Message);
            return;
        }

        if (selected)
        {
            var context = new byte[4 + Allocation.Length];
            BinaryPrimitives.WriteUInt32BigEndian(context, option == NbdOption.SetMetaContext ? AllocationContext : 0);
            Encoding.ASCII.GetBytes(Allocation, context.AsSpan(4));
            Reply(option, NbdOptionReply.MetaContext, context);
            _contextExport = option == NbdOption.SetMetaContext ? name : _contextExport;
        }

        Reply(option, NbdOptionReply.Ack);
    }

    private void Begin(VolumeShare share, string name)
    {
        _share = share;
        _exportSize = share.Volume.Size;
        _allocationAgreed = _contextExport == name;
        _phase = Phase.Transmission;
        _deadline?.Cancel();
    }

    private static bool TryReadName(ref ReadOnlySpan<byte> content, out string name)
    {
        name = "";
        if (content.Length < 4)
        {
            return false;
        }

        uint length = BinaryPrimitives.ReadUInt32BigEndian(content);
        if (length > LongestName || length > content.Length - 4)
        {
            return false;
        }

        name = Encoding.UTF8.GetString(content.Slice(4, (int)length));
        content = content[(4 + (int)length)..];
        return true;
    }

    private void Refuse(NbdOption option, NbdOptionReply reply, string message) =>
        Reply(option, reply, Encoding.UTF8.GetBytes(message.Length > LongestMessage ? message[..LongestMessage] : message));

    private void Reply(NbdOption option, NbdOptionReply reply, ReadOnlySpan<byte> content = default)
    {
        if (_closed)
        {
            return;
        }

        Span<byte> header = stackalloc byte[20];
        BinaryPrimitives.WriteUInt64BigEndian(header, OptionReplyMagic);
        BinaryPrimitives.WriteUInt32BigEndian(header[8..], (uint)option);
        BinaryPrimitives.WriteUInt32BigEndian(header[12..], (uint)reply);
        BinaryPrimitives.WriteUInt32BigEndian(header[16..], (uint)content.Length);
        _socket.Send(header);
        if (!content.IsEmpty)
        {
            _socket.Send(content);
        }
    }
}

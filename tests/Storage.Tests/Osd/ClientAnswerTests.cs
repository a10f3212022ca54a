using Storage.Client;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Messaging.Memory;
using Storage.Reactor.Virtual;
using Storage.Tests.Messaging;
using Storage.Tests.Osd.Kit;
using Xunit;

namespace Storage.Tests.Osd;

/// <summary>What a client makes of an OSD's answers; the OSD is played by the test.</summary>
public sealed class ClientAnswerTests
{
    // Decision 0005: an operation is sent again. A refusal of the first copy comes late; it says nothing of the second one, which takes effect.
    [Fact]
    public void AnAnswerToAnEarlierSendingIsIgnored()
    {
        var loop = new VirtualLoop();
        var random = new Random(1);
        var network = new MemoryNetwork(loop, random);
        var monitor = new MapAuthority(loop, network, 1);
        var sent = new List<(ulong Sequence, ushort Attempt)>();
        IConnection? client = null;
        var osd = new ScriptHandler
        {
            Received = (IConnection connection, in Message message) =>
            {
                if (message.Type == MessageType.Operation)
                {
                    OperationRequest request = OperationRequest.Decode(message.Body);
                    sent.Add((request.Id.Sequence, request.Attempt));
                    client = connection;
                }
            },
        };
        NodeAddress address = network.CreateTransport("host0", new PeerIdentity(EntityKind.Osd, 0, 5), MapAuthority.Fsid).Listen(new NodeAddress("host0", 6800), _ => osd).Address;
        monitor.ChangeNow(increment =>
        {
            increment.Osds.Add(new OsdInfo { Id = new OsdId(0), IsUp = true, Weight = OsdInfo.FullWeight, Address = address, Instance = 5, UpFrom = increment.Epoch });
            increment.Pools.Add(new PoolInfo { Id = OsdCluster.Pool, Name = "pool", Size = 1, MinSize = 1, PgCount = 1, Created = increment.Epoch });
        });
        var objects = new ObjectClient(
            loop, network.CreateTransport("client7", new PeerIdentity(EntityKind.Client, 7, 1), MapAuthority.Fsid), new ClientOptions { MonitorAddresses = [monitor.Address], ClientId = 7 }, random);
        Task<ResultCode> write = loop.Invoke(() => OsdCluster.WriteAsync(objects, "a", [1]));
        loop.RunFor(TimeSpan.FromSeconds(1));
        Assert.Single(sent);

        // The OSD sends it back, so that it comes again.
        Answer(ResultCode.WrongPrimary, sent[0].Attempt);
        loop.RunFor(TimeSpan.FromSeconds(5));
        Assert.Equal(2, sent.Count);
        Assert.Equal(sent[0].Sequence, sent[1].Sequence);
        Assert.NotEqual(sent[0].Attempt, sent[1].Attempt);

        Answer(ResultCode.NoSpace, sent[0].Attempt);
        loop.RunFor(TimeSpan.FromSeconds(0.1));
        Assert.False(write.IsCompleted);
        Answer(ResultCode.Ok, sent[1].Attempt);
        loop.RunFor(TimeSpan.FromSeconds(0.1));
        Assert.True(write.IsCompletedSuccessfully);
        Assert.Equal(ResultCode.Ok, loop.Run(() => write, TimeSpan.FromSeconds(1)));

        void Answer(ResultCode result, ushort attempt)
        {
            var body = new WireWriter();
            new OperationReply { Sequence = sent[0].Sequence, Attempt = attempt, Result = result, MapEpoch = monitor.Map.Epoch }.Encode(body);
            client!.Send(MessageType.OperationReply, body.WrittenSpan);
        }
    }
}

package scoreboard
import ("testing";"fmt";"os";"github.com/weirproject/weir/bench/traffic";"github.com/weirproject/weir/bench/traffic/scenario";"github.com/weirproject/weir/bench/traffic/people";"github.com/weirproject/weir/stream/event";"github.com/weirproject/weir/stream/verdict")
func TestDbg(t *testing.T){
 who:=os.Getenv("WHO"); seed,_:=scenario.Split("development").Seed(1)
 l,_:=NewLine("shop",[]byte(traffic.ShopFlows)); l.LearnUntil=scenario.FirstDay(scenario.Config{}).UnixNano()+2*people.Day
 ta:=NewTally(); s:=l.Sink("x",ta); next:=l.OnDecision
 l.OnDecision=func(d *verdict.Decision,ev *event.Event,tag any){ next(d,ev,tag); lb:=tag.(*traffic.Label); if lb.Who==who { fmt.Println(ev.Time/1e9, lb.Kind, lb.Session, d.Action,d.Threats, ev.Method,ev.Path,ev.QueryKeys,ev.Status,ev.Payload, ev.Role, ev.Outcome, d.Actor) } }
 scenario.Shop(scenario.Config{Seed:seed,People:3000,Days:4,Variant:"normal"},s); l.Finish()
}

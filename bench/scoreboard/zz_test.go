package scoreboard
import ("testing";"fmt";"github.com/weirproject/weir/bench/traffic";"github.com/weirproject/weir/bench/traffic/scenario";"github.com/weirproject/weir/bench/traffic/people";"github.com/weirproject/weir/stream/event";"github.com/weirproject/weir/stream/verdict")
func TestDbg(t *testing.T){
 seed,_:=scenario.Split("development").Seed(1)
 l,_:=NewLine("shop",[]byte(traffic.ShopFlows)); l.LearnUntil=scenario.FirstDay(scenario.Config{}).UnixNano()+2*people.Day
 ta:=NewTally(); s:=l.Sink("x",ta); next:=l.OnDecision
 l.OnVerdict=func(v *verdict.Verdict){ if v.Threats[0]=="OAT-005"{ fmt.Println("V",v.Action,v.Scope,v.Score,v.Evidence.Caps,v.Evidence.Summary) } }
 l.OnDecision=func(d *verdict.Decision,ev *event.Event,tag any){ next(d,ev,tag); lb:=tag.(*traffic.Label); if lb.Class=="bot" { fmt.Println(ev.Time/1e6%1e8, lb.Session, d.Action,d.Threats, ev.Method,ev.Path,ev.Status, ev.Role, ev.Outcome, ev.Opens/1e6%1e8, d.Actor) } }
 scenario.Shop(scenario.Config{Seed:seed,People:3000,Days:4,Variant:"normal",Attacks:[]string{"OAT-005:hard@2.1"}},s); l.Finish()
}

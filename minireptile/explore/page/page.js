// The figures of the page; each begins when it comes near the screen.
import "./figures/curvature.js";
import "./figures/reptile_step.js";
import "./figures/near_theta.js";
